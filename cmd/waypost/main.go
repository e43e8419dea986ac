// Command waypost runs the whole of Waypost in one process, and is the
// administrator's command line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"waypost/cmd/internal/roles"
	"waypost/directory"
	"waypost/internal/config"
	"waypost/internal/fault"
	storepg "waypost/store/postgres"
)

// cli is the grammar of the command line.
type cli struct {
	Data   string `help:"Data folder." placeholder:"DIR" type:"path"`
	Config string `help:"Configuration file (TOML)." placeholder:"FILE" env:"WAYPOST_CONFIG" type:"path"`
	JSON   bool   `name:"json" help:"Print JSON."`

	Serve   serveCmd   `cmd:"" help:"Run every role in this process. Example: waypost serve --data /var/lib/waypost"`
	Ready   readyCmd   `cmd:"" help:"Wait until every door answers. Example: waypost ready --wait 60s"`
	Domain  domainCmd  `cmd:"" help:"Mail domains."`
	User    userCmd    `cmd:"" help:"Users and rooms."`
	Group   groupCmd   `cmd:"" help:"Distribution lists."`
	Mailbox mailboxCmd `cmd:"" help:"Import, export and look at mailboxes."`
	Queue   queueCmd   `cmd:"" help:"The queue of outgoing mail."`
	Device  deviceCmd  `cmd:"" help:"Phones: list, wipe, block."`
	Doctor  doctorCmd  `cmd:"" help:"Look for what is wrong and say how to mend it."`
	Migrate migrateCmd `cmd:"" help:"Bring the schemas up to date."`
	Conf    confCmd    `cmd:"" name:"config" help:"About the configuration."`
	Links   linksCmd   `cmd:"" help:"Certificates of the links between the programs."`
	Version struct{}   `cmd:"" help:"Print the version."`
}

// app is what a command works with.
type app struct {
	cfg  *config.Config
	out  output
	dir  directory.Directory
	mail *storepg.Store
	more opened
}

// need is what a command needs opened.
type need int

const (
	needNothing need = iota
	needDirectory
	needMail // and the directory
	needQueue
)

// commands maps a command's path to its work, and says what it needs.
var commands = map[string]struct {
	need need
	run  func(*app, context.Context, *cli) error
}{
	"serve":                           {needNothing, (*app).serve},
	"ready":                           {needNothing, (*app).ready},
	"version":                         {needNothing, (*app).version},
	"config describe":                 {needNothing, (*app).configDescribe},
	"config check":                    {needNothing, (*app).configCheck},
	"links init":                      {needNothing, (*app).linksInit},
	"migrate":                         {needNothing, (*app).migrate},
	"doctor":                          {needNothing, (*app).doctor},
	"domain add <domain>":             {needDirectory, (*app).domainAdd},
	"domain list":                     {needDirectory, (*app).domainList},
	"domain remove <domain>":          {needDirectory, (*app).domainRemove},
	"user add <address>":              {needDirectory, (*app).userAdd},
	"user list":                       {needDirectory, (*app).userList},
	"user show <address>":             {needDirectory, (*app).userShow},
	"user passwd <address>":           {needDirectory, (*app).userPasswd},
	"user disable <address>":          {needDirectory, (*app).userDisable},
	"user enable <address>":           {needDirectory, (*app).userEnable},
	"user remove <address>":           {needDirectory, (*app).userRemove},
	"user import <file>":              {needDirectory, (*app).userImport},
	"group add <address>":             {needDirectory, (*app).groupAdd},
	"group remove <address>":          {needDirectory, (*app).groupRemove},
	"group show <address>":            {needDirectory, (*app).groupShow},
	"group list":                      {needDirectory, (*app).groupList},
	"mailbox show <address>":          {needMail, (*app).mailboxShow},
	"device list <address>":           {needMail, (*app).deviceList},
	"queue list":                      {needQueue, (*app).queueList},
	"queue show <id>":                 {needQueue, (*app).queueShow},
	"queue retry <id>":                {needQueue, (*app).queueRetry},
	"queue hold <id>":                 {needQueue, (*app).queueHold},
	"queue release <id>":              {needQueue, (*app).queueRelease},
	"queue delete <id>":               {needQueue, (*app).queueDelete},
	"user rename <address> <to>":      {needDirectory, (*app).userRename},
	"mailbox import <address> <path>": {needMail, (*app).mailboxImport},
	"mailbox export <address> <dir>":  {needMail, (*app).mailboxExport},
	"device show <address> <id>":      {needMail, (*app).deviceShow},
	"device wipe <address> <id>":      {needMail, (*app).deviceWipe},
	"device block <address> <id>":     {needMail, (*app).deviceBlock},
	"device allow <address> <id>":     {needMail, (*app).deviceAllow},
	"device remove <address> <id>":    {needMail, (*app).deviceRemove},
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("waypost"), kong.UsageOnError(),
		kong.Description("Waypost: mail, calendar and directory for an organisation. Every command takes --data or --config, and --json."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic(err) // the grammar above is wrong
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "waypost:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := execute(ctx, &c, kctx.Command()); err != nil {
		report(c.JSON, err)
		return 1
	}
	return 0
}

func execute(ctx context.Context, c *cli, name string) (err error) {
	cmd, ok := commands[name]
	if !ok {
		return fmt.Errorf("no such command: %s", name)
	}
	a := &app{out: output{json: c.JSON, out: os.Stdout}}
	set := map[string]string{}
	if c.Data != "" {
		set["data"] = c.Data
	}
	if a.cfg, err = config.Load(config.Source{File: c.Config, Env: os.Environ(), Set: set}); err != nil {
		return err
	}
	if cmd.need != needNothing {
		if err := a.open(ctx, cmd.need); err != nil {
			return err
		}
		defer a.more.close()
	}
	return cmd.run(a, ctx, c)
}

// report prints one clear line; the operator sees the inside too.
func report(asJSON bool, err error) {
	if asJSON {
		_ = json.NewEncoder(os.Stderr).Encode(map[string]string{"error": err.Error(), "kind": fault.Of(err).String()})
		return
	}
	text := err.Error()
	if errors.Is(err, context.Canceled) {
		text = "interrupted"
	}
	fmt.Fprintln(os.Stderr, "waypost:", strings.TrimSpace(text))
}

func (a *app) version(context.Context, *cli) error {
	v := roles.Version()
	return a.out.done(map[string]string{"version": v}, "waypost %s", v)
}
