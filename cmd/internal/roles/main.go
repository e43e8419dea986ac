package roles

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"waypost/internal/config"
	"waypost/internal/serve"
)

// flags are the command line of the programs with a single role.
type flags struct {
	Data    string `help:"Data folder: certificates and run/addresses.json." placeholder:"DIR" type:"path"`
	Config  string `help:"Configuration file (TOML); see: waypost config describe." placeholder:"FILE" env:"WAYPOST_CONFIG" type:"path"`
	JSON    bool   `name:"json" help:"Log as JSON."`
	Version bool   `help:"Print the version and end."`
}

// Main is the main function of a program with a single role.
func Main(name, about string, open func(*Program, context.Context) error) {
	var f flags
	kong.Parse(&f, kong.Name(name), kong.Description(about+"\n\nExample: "+name+" --config /etc/waypost/waypost.toml"))
	if f.Version {
		fmt.Println(name, Version())
		return
	}
	if err := runRole(name, f, open); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func runRole(name string, f flags, open func(*Program, context.Context) error) error {
	set := map[string]string{}
	if f.Data != "" {
		set["data"] = f.Data
	}
	if f.JSON {
		set["log.format"] = "json"
	}
	cfg, err := config.Load(config.Source{File: f.Config, Env: os.Environ(), Set: set})
	if err != nil {
		return err
	}
	ctx, stop := serve.Signals(context.Background())
	defer stop()
	p := New(name, cfg)
	defer p.Close()
	if err := migrateOwn(ctx, name, cfg); err != nil {
		return err
	}
	if err := open(p, ctx); err != nil {
		return err
	}
	return p.Run(ctx, nil)
}

// migrateOwn brings the schemas up to date that the program's role owns.
func migrateOwn(ctx context.Context, name string, cfg *config.Config) error {
	own := *cfg
	own.Database = config.Database{Wait: cfg.Database.Wait}
	switch name {
	case "waypost-directory":
		own.Database.DirectoryURL = cfg.Database.DirectoryURL
	case "waypost-smtp":
		own.Database.QueueURL = cfg.Database.QueueURL
	default:
		own.Database.MailURL, own.Database.MailURLs = cfg.Database.MailURL, cfg.Database.MailURLs
	}
	return Migrate(ctx, &own)
}
