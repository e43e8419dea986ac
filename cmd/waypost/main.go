// Command waypost runs the whole of Waypost in one process, and is the
// administrator's command line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
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

	Serve       serveCmd       `cmd:"" help:"Run every role in this process."`
	Ready       readyCmd       `cmd:"" help:"Wait until every door answers."`
	Domain      domainCmd      `cmd:"" help:"Mail domains."`
	User        userCmd        `cmd:"" help:"Users and rooms."`
	Group       groupCmd       `cmd:"" help:"Distribution lists and security groups."`
	Contact     contactCmd     `cmd:"" help:"People elsewhere in the address list."`
	Room        roomCmd        `cmd:"" help:"Rooms and equipment."`
	AddressList addressListCmd `cmd:"" name:"addresslist" help:"Address lists below the global one."`
	Directory   directoryCmd   `cmd:"" help:"The directory as a tree of entries: import, export, search, check, prepare."`
	Delegate    delegateCmd    `cmd:"" help:"Let somebody administer a part of the organisation."`
	Org         orgCmd         `cmd:"" help:"Organisations to test with."`
	Policy      policyCmd      `cmd:"" help:"Policies for passwords and lock-out."`
	OAuth       oauthCmd       `cmd:"" name:"oauth" help:"Programs that people may give access to (OAuth 2.1)."`
	Session     sessionCmd     `cmd:"" help:"Where people are signed in, and to sign them out."`
	Audit       auditCmd       `cmd:"" help:"The log of every change of the directory."`
	Calendar    calendarCmd    `cmd:"" help:"Calendars of people: their own, those of the Internet, birthdays; and secret addresses for them."`
	AddressBook addressBookCmd `cmd:"" name:"addressbook" help:"Address books of people."`
	Mailbox     mailboxCmd     `cmd:"" help:"Import, export and look at mailboxes."`
	Queue       queueCmd       `cmd:"" help:"The queue of outgoing mail."`
	Moderation  moderationCmd  `cmd:"" help:"Messages to moderated groups, and decisions about them."`
	Device      deviceCmd      `cmd:"" help:"Phones: list, wipe, block."`
	Doctor      doctorCmd      `cmd:"" help:"Look for what is wrong and say how to mend it."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the schemas up to date."`
	Conf        confCmd        `cmd:"" name:"config" help:"About the configuration."`
	Links       linksCmd       `cmd:"" help:"Certificates of the links between the programs."`
	Database    databaseCmd    `cmd:"" help:"Run a program of PostgreSQL as the database's superuser, for backups."`
	Version     struct{}       `cmd:"" help:"Print the version."`
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
	needTree // the directory, read into this process: its tree, and bulk
	needMail // and the directory
	needQueue
)

// commands maps a command's path to its work, and says what it needs and how it
// is used.
var commands = map[string]struct {
	need    need
	run     func(*app, context.Context, *cli) error
	example string // shown by --help
}{
	"serve":                                 {needNothing, (*app).serve, "waypost serve --data /var/lib/waypost"},
	"ready":                                 {needNothing, (*app).ready, "waypost ready --data /var/lib/waypost --wait 60s"},
	"version":                               {needNothing, (*app).version, "waypost version"},
	"doctor":                                {needNothing, (*app).doctor, "waypost doctor --data /var/lib/waypost"},
	"migrate":                               {needNothing, (*app).migrate, "waypost migrate --config /etc/waypost/waypost.toml --roles"},
	"database <program>":                    {needNothing, (*app).database, "waypost database pg_dump -Fc -f /backup/waypost.dump"},
	"config describe":                       {needNothing, (*app).configDescribe, "waypost config describe > /etc/waypost/waypost.toml"},
	"config check":                          {needNothing, (*app).configCheck, "waypost config check --config /etc/waypost/waypost.toml"},
	"links init":                            {needNothing, (*app).linksInit, "waypost links init --data /var/lib/waypost"},
	"domain add <domain>":                   {needDirectory, (*app).domainAdd, "waypost domain add example.org"},
	"domain list":                           {needDirectory, (*app).domainList, "waypost domain list --json"},
	"domain remove <domain>":                {needDirectory, (*app).domainRemove, "waypost domain remove example.org"},
	"user add <address>":                    {needDirectory, (*app).userAdd, "waypost user add ann@example.org --name 'Ann Lee' --quota 10GiB"},
	"user list":                             {needDirectory, (*app).userList, "waypost user list --json"},
	"user show <address>":                   {needDirectory, (*app).userShow, "waypost user show ann@example.org"},
	"user passwd <address>":                 {needDirectory, (*app).userPasswd, "waypost user passwd ann@example.org"},
	"user disable <address>":                {needDirectory, (*app).userDisable, "waypost user disable ann@example.org"},
	"user enable <address>":                 {needDirectory, (*app).userEnable, "waypost user enable ann@example.org"},
	"user remove <address>":                 {needDirectory, (*app).userRemove, "waypost user remove ann@example.org"},
	"user import <file>":                    {needTree, (*app).userImport, "waypost user import people.csv"},
	"user rename <address> <to>":            {needDirectory, (*app).userRename, "waypost user rename ann@example.org ann.lee@example.org"},
	"user set <address>":                    {needDirectory, (*app).userSet, "waypost user set ann@example.org --quota 20GiB --alias lee@example.org"},
	"group add <address>":                   {needDirectory, (*app).groupAdd, "waypost group add staff@example.org --name Staff --member ann@example.org --owner bob@example.org"},
	"group set <address>":                   {needTree, (*app).groupSet, "waypost group set staff@example.org --restrict boss@example.org --hidden-members"},
	"contact add <address>":                 {needTree, (*app).contactAdd, "waypost contact add joe@partner.example --name 'Joe Doe' --alias joe@example.org"},
	"contact list":                          {needTree, (*app).contactList, "waypost contact list"},
	"contact remove <address>":              {needTree, (*app).contactRemove, "waypost contact remove joe@partner.example"},
	"room add <address>":                    {needDirectory, (*app).roomAdd, "waypost room add hall@example.org --name Hall --capacity 40 --feature projector"},
	"room list":                             {needDirectory, (*app).roomList, "waypost room list --capacity 10"},
	"room set <address>":                    {needDirectory, (*app).roomSet, "waypost room set hall@example.org --capacity 50"},
	"room show <address>":                   {needMail, (*app).roomShow, "waypost room show hall@example.org --days 30"},
	"calendar list <address>":               {needMail, (*app).calendarList, "waypost calendar list ann@example.org"},
	"calendar create <address> <name>":      {needMail, (*app).calendarCreate, "waypost calendar create ann@example.org Travel --color '#3366CC' --zone Europe/Berlin"},
	"calendar remove <address> <name>":      {needMail, (*app).calendarRemove, "waypost calendar remove ann@example.org Travel"},
	"calendar show <address> <calendar>":    {needMail, (*app).calendarShow, "waypost calendar show ann@example.org --from 2026-12-24 --days 7"},
	"calendar subscribe <address> <url>":    {needMail, (*app).calendarSubscribe, "waypost calendar subscribe ann@example.org webcal://example.net/holidays.ics --name Holidays"},
	"calendar unsubscribe <address> <url>":  {needMail, (*app).calendarUnsubscribe, "waypost calendar unsubscribe ann@example.org Holidays"},
	"calendar refresh <address> <url>":      {needMail, (*app).calendarRefresh, "waypost calendar refresh ann@example.org"},
	"calendar publish <address> <calendar>": {needMail, (*app).calendarPublish, "waypost calendar publish ann@example.org Travel --detail limited --note 'for the club'"},
	"calendar published <address>":          {needMail, (*app).calendarPublished, "waypost calendar published ann@example.org"},
	"calendar unpublish <address> <id>":     {needMail, (*app).calendarUnpublish, "waypost calendar unpublish ann@example.org 27"},
	"calendar birthdays <state> <address>":  {needMail, (*app).calendarBirthdays, "waypost calendar birthdays on ann@example.org"},
	"addressbook list <address>":            {needMail, (*app).bookList, "waypost addressbook list ann@example.org"},
	"addressbook create <address> <name>":   {needMail, (*app).bookCreate, "waypost addressbook create ann@example.org Suppliers"},
	"addressbook remove <address> <name>":   {needMail, (*app).bookRemove, "waypost addressbook remove ann@example.org Suppliers"},
	"addressbook show <address> <book>":     {needMail, (*app).bookShow, "waypost addressbook show ann@example.org --find smith"},
	"addressbook publish <address> <book>":  {needMail, (*app).bookPublish, "waypost addressbook publish ann@example.org Suppliers"},
	"addressbook published <address>":       {needMail, (*app).bookPublished, "waypost addressbook published ann@example.org"},
	"addressbook unpublish <address> <id>":  {needMail, (*app).bookUnpublish, "waypost addressbook unpublish ann@example.org 27"},
	"room rules <address>":                  {needMail, (*app).roomRules, "waypost room rules hall@example.org --minutes 120 --who staff@example.org --delegate office@example.org"},
	"addresslist add <name>":                {needTree, (*app).addressListAdd, "waypost addresslist add Sales --filter '(department=Sales)'"},
	"addresslist list":                      {needDirectory, (*app).addressListList, "waypost addresslist list"},
	"addresslist show <name>":               {needDirectory, (*app).addressListShow, "waypost addresslist show Sales --limit 20"},
	"addresslist remove <name>":             {needTree, (*app).addressListRemove, "waypost addresslist remove Sales"},
	"group remove <address>":                {needDirectory, (*app).groupRemove, "waypost group remove staff@example.org --member ann@example.org"},
	"group show <address>":                  {needDirectory, (*app).groupShow, "waypost group show staff@example.org"},
	"group list":                            {needDirectory, (*app).groupList, "waypost group list"},
	"directory import <file>":               {needTree, (*app).directoryImport, "waypost directory import forest.ldif"},
	"directory export <file>":               {needTree, (*app).directoryExport, "waypost directory export --base OU=Sales,DC=example,DC=org sales.ldif"},
	"directory search <filter>":             {needTree, (*app).directorySearch, "waypost directory search '(anr=smith)' --attributes cn,mail"},
	"directory show <dn>":                   {needTree, (*app).directoryShow, "waypost directory show ann@example.org"},
	"directory check":                       {needTree, (*app).directoryCheck, "waypost directory check"},
	"directory prep forest":                 {needTree, (*app).prepForest, "waypost directory prep forest --dry-run"},
	"directory prep domain <domain>":        {needTree, (*app).prepDomain, "waypost directory prep domain example.org"},
	"delegate <admin>":                      {needTree, (*app).delegate, "waypost delegate helpdesk@example.org --on Sales/North --allow reset-password,edit-users"},
	"org generate":                          {needNothing, (*app).orgGenerate, "waypost org generate --scale lab --seed 7 --ldif lab.ldif"},
	"mailbox settings <address>":            {needMail, (*app).mailboxSettings, "waypost mailbox settings ann@example.org --zone Europe/Berlin --hours mon-fri=08:00-16:30 --language de"},
	"mailbox show <address>":                {needMail, (*app).mailboxShow, "waypost mailbox show ann@example.org"},
	"mailbox deleted <address>":             {needMail, (*app).mailboxDeleted, "waypost mailbox deleted ann@example.org"},
	"mailbox restore <address> <id>":        {needMail, (*app).mailboxRestore, "waypost mailbox restore ann@example.org --since 2d"},
	"mailbox import <address> <path>":       {needMail, (*app).mailboxImport, "waypost mailbox import ann@example.org work.ics --new-folder"},
	"mailbox export <address> <dir>":        {needMail, (*app).mailboxExport, "waypost mailbox export ann@example.org ./ann"},
	"queue list":                            {needQueue, (*app).queueList, "waypost queue list --domain example.net"},
	"queue show <id>":                       {needQueue, (*app).queueShow, "waypost queue show 17"},
	"queue retry <id>":                      {needQueue, (*app).queueRetry, "waypost queue retry all"},
	"queue hold <id>":                       {needQueue, (*app).queueHold, "waypost queue hold 17"},
	"queue release <id>":                    {needQueue, (*app).queueRelease, "waypost queue release all"},
	"queue delete <id>":                     {needQueue, (*app).queueDelete, "waypost queue delete 17"},
	"moderation list":                       {needQueue, (*app).moderationList, "waypost moderation list --all --group board@example.org"},
	"moderation show <id>":                  {needQueue, (*app).moderationShow, "waypost moderation show 5"},
	"moderation approve <id>":               {needQueue, (*app).moderationApprove, "waypost moderation approve 5"},
	"moderation reject <id>":                {needQueue, (*app).moderationReject, "waypost moderation reject 5 --comment 'Please write to sales@example.org'"},
	"device list <address>":                 {needMail, (*app).deviceList, "waypost device list ann@example.org"},
	"device show <address> <id>":            {needMail, (*app).deviceShow, "waypost device show ann@example.org ABC123"},
	"device wipe <address> <id>":            {needMail, (*app).deviceWipe, "waypost device wipe ann@example.org ABC123"},
	"device block <address> <id>":           {needMail, (*app).deviceBlock, "waypost device block ann@example.org ABC123"},
	"device allow <address> <id>":           {needMail, (*app).deviceAllow, "waypost device allow ann@example.org ABC123"},
	"device remove <address> <id>":          {needMail, (*app).deviceRemove, "waypost device remove ann@example.org ABC123"},

	"user unlock <address>":                     {needDirectory, (*app).userUnlock, "waypost user unlock ann@example.org"},
	"user expire <address>":                     {needDirectory, (*app).userExpire, "waypost user expire ann@example.org --on 2027-01-31"},
	"user app-password add <address> <name>":    {needDirectory, (*app).appPasswordAdd, "waypost user app-password add ann@example.org phone"},
	"user app-password list <address>":          {needDirectory, (*app).appPasswordList, "waypost user app-password list ann@example.org"},
	"user app-password remove <address> <name>": {needDirectory, (*app).appPasswordRemove, "waypost user app-password remove ann@example.org phone"},
	"oauth client add <id>":                     {needDirectory, (*app).clientAdd, "waypost oauth client add thunderbird --name Thunderbird --redirect http://127.0.0.1/"},
	"oauth client list":                         {needDirectory, (*app).clientList, "waypost oauth client list"},
	"oauth client remove <id>":                  {needDirectory, (*app).clientRemove, "waypost oauth client remove thunderbird"},
	"session list <address>":                    {needDirectory, (*app).sessionList, "waypost session list ann@example.org"},
	"session end <address>":                     {needDirectory, (*app).sessionEnd, "waypost session end ann@example.org"},
	"user totp enable <address>":                {needDirectory, (*app).factorEnable, "waypost user totp enable ann@example.org --code 123456"},
	"user totp disable <address>":               {needDirectory, (*app).factorDisable, "waypost user totp disable ann@example.org"},
	"user totp show <address>":                  {needDirectory, (*app).factorShow, "waypost user totp show ann@example.org"},
	"policy list":                               {needDirectory, (*app).policyList, "waypost policy list"},
	"policy show <name>":                        {needDirectory, (*app).policyShow, "waypost policy show --of ann@example.org"},
	"policy set <name>":                         {needDirectory, (*app).policySet, "waypost policy set admins --for 'Domain Admins' --min-length 14 --max-age 90d --attempts 5 --lock-for 30m"},
	"policy remove <name>":                      {needDirectory, (*app).policyRemove, "waypost policy remove admins"},
	"audit list":                                {needDirectory, (*app).auditList, "waypost audit list --object ann@example.org --since 7d"},
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	kctx, err := grammar(&c).Parse(args)
	if err != nil {
		report(slices.Contains(args, "--json"), misused(err))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := execute(ctx, &c, pathOf(kctx.Selected())); err != nil {
		report(c.JSON, err)
		return 1
	}
	return 0
}

func grammar(c *cli) *kong.Kong {
	parser, err := kong.New(c, kong.Name("waypost"),
		kong.Description("Waypost: mail and directory for an organisation. Every command takes --data or --config, and --json; waypost COMMAND --help shows an example."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Help(help))
	if err != nil {
		panic(err) // the grammar above is wrong
	}
	return parser
}

// help prints the usual help and, for a command, its example.
func help(o kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	if cmd, ok := commands[pathOf(ctx.Selected())]; ok {
		_, err := fmt.Fprintf(ctx.Stdout, "\nExample:\n  %s\n", cmd.example)
		return err
	}
	return nil
}

// pathOf names a command as the table does, its arguments too.
func pathOf(n *kong.Node) string {
	if n == nil {
		return ""
	}
	path := n.Path()
	for _, arg := range n.Positional {
		path += " <" + arg.Name + ">"
	}
	return path
}

// misused says where the right use is described.
func misused(err error) error {
	path := "waypost"
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil && p.Context.Selected() != nil {
		path = p.Context.Selected().FullPath()
	}
	return fault.New(fault.Invalid, "%v; see: %s --help", err, path)
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
	if host, err := os.Hostname(); err == nil {
		ctx = directory.WithClient(ctx, host) // for the audit log
	}
	return cmd.run(a, ctx, c)
}

// report prints one clear line; the operator sees the inside too.
func report(asJSON bool, err error) {
	if asJSON {
		_ = json.NewEncoder(os.Stderr).Encode(map[string]string{"error": oneLine(err.Error()), "kind": fault.Of(err).String()})
		return
	}
	text := oneLine(err.Error())
	if errors.Is(err, context.Canceled) {
		text = "interrupted"
	}
	if errors.Is(err, fs.ErrPermission) {
		text += "; run it as root, or as the user that owns the data folder"
	}
	fmt.Fprintln(os.Stderr, "waypost:", strings.TrimSpace(text))
}

// oneLine undoes the lines into which an error was broken within. Several
// errors, as of a configuration, stay one line each.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n\t", " ") }

func (a *app) version(context.Context, *cli) error {
	v := roles.Version()
	return a.out.done(map[string]string{"version": v}, "waypost %s", v)
}
