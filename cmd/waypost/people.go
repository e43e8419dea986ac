package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"

	"waypost/directory"
	"waypost/internal/config"
	"waypost/internal/fault"
)

// operator is who the command line acts as: whoever can read the data folder or
// the database password is the operator of the system.
// The audit log has the name of the account on this machine, too.
func operator() directory.Principal {
	p := directory.System("command line" + operatorName())
	p.Roles |= directory.RoleAdmin
	return p
}

// operatorName is who runs the command; of sudo, who called it.
var operatorName = sync.OnceValue(func() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	if name == "" || len(name) > 64 {
		return ""
	}
	return " (" + name + ")"
})

type domainCmd struct {
	Add struct {
		Domain string `arg:"" help:"The mail domain, e.g. example.org."`
	} `cmd:"" help:"Receive mail for a domain."`
	List   struct{} `cmd:"" help:"List the domains."`
	Remove struct {
		Domain string `arg:""`
	} `cmd:"" help:"Stop receiving for a domain that nobody has an address in."`
}

func (a *app) domainAdd(ctx context.Context, c *cli) error {
	d, err := a.dir.AddDomain(ctx, operator(), c.Domain.Add.Domain)
	if err != nil {
		return err
	}
	return a.out.done(d, "Waypost now receives mail for %s. Next: waypost user add NAME@%s --name NAME", d.Name, d.Name)
}

func (a *app) domainList(ctx context.Context, _ *cli) error {
	all, err := a.dir.Domains(ctx, operator())
	if err != nil {
		return err
	}
	rows := make([][]any, len(all))
	for i, d := range all {
		rows[i] = []any{d.Name, when(d.Created)}
	}
	return a.out.list(all, []any{"Domain", "Added"}, rows)
}

func (a *app) domainRemove(ctx context.Context, c *cli) error {
	if err := a.dir.RemoveDomain(ctx, operator(), c.Domain.Remove.Domain); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": c.Domain.Remove.Domain}, "Removed %s.", c.Domain.Remove.Domain)
}

type userCmd struct {
	Add struct {
		Address       string      `arg:"" help:"The primary address."`
		Name          string      `required:"" help:"The name that others see."`
		Given         string      `help:"Given name."`
		Surname       string      `help:"Family name."`
		OU            string      `name:"ou" help:"Organisational unit, as a path: Sales/North."`
		Alias         []string    `help:"A further address; may be repeated."`
		Room          bool        `help:"A room: a mailbox that nobody signs in to."`
		Admin         bool        `help:"May administer the organisation."`
		Quota         config.Size `help:"What the mailbox may hold, like 10GiB; 0: the default." placeholder:"SIZE"`
		PasswordStdin bool        `help:"Read the password from standard input."`
	} `cmd:"" help:"Add a user with a mailbox."`
	List struct{} `cmd:"" help:"List users and rooms."`
	Show struct {
		Address string `arg:""`
	} `cmd:"" help:"Show one user."`
	Set struct {
		Address    string       `arg:"" help:"Whom to change."`
		Name       *string      `help:"The name that others see."`
		Given      *string      `help:"Given name."`
		Surname    *string      `help:"Family name."`
		Title      *string      `help:"Position."`
		Department *string      `help:"Department."`
		Company    *string      `help:"Company."`
		Office     *string      `help:"Office."`
		Phone      *string      `help:"Telephone at work."`
		Mobile     *string      `help:"Mobile telephone."`
		Quota      *config.Size `help:"What the mailbox may hold, like 20GiB; 0: the default." placeholder:"SIZE"`
		Alias      []string     `help:"A further address; may be repeated."`
		DropAlias  []string     `help:"A further address to take away."`
		Admin      *bool        `negatable:"" help:"May administer the organisation, or not."`
		Hidden     *bool        `negatable:"" help:"Not shown in address lists, or shown."`
		redirection
	} `cmd:"" help:"Change a user's attributes; what is not named stays."`
	Passwd struct {
		Address       string `arg:""`
		PasswordStdin bool   `help:"Read the password from standard input." xor:"what"`
		MustChange    bool   `help:"It must be changed at the next sign-in."`
		Keep          bool   `help:"Keep the password: only demand its change." xor:"what"`
	} `cmd:"" help:"Set a password. Its open connections end within a second."`
	Unlock      unlockCmd      `cmd:"" help:"Forgive failed sign-ins: an account that they locked is open again."`
	Expire      expireCmd      `cmd:"" help:"End an account on a day, or never."`
	AppPassword appPasswordCmd `cmd:"" help:"Passwords for single programs: phones, mail programs."`
	TOTP        factorCmd      `cmd:"" name:"totp" help:"The second factor of sign-in on the web."`
	Disable     struct {
		Address string `arg:""`
	} `cmd:"" help:"Stop sign-in at once; mail still arrives."`
	Enable struct {
		Address string `arg:""`
	} `cmd:"" help:"Allow sign-in again."`
	Rename struct {
		Address string `arg:"" help:"The address now."`
		To      string `arg:"" help:"The new primary address. The old one keeps working."`
	} `cmd:"" help:"Give a new primary address."`
	Remove struct {
		Address string `arg:""`
	} `cmd:"" help:"Remove a user."`
	Import struct {
		File string `arg:"" type:"existingfile" help:"CSV with a header line (address,name,password and others), or LDIF."`
	} `cmd:"" help:"Add many users."`
}

// readPassword asks on a terminal, twice, or reads a line of standard input.
func readPassword(stdin bool) (string, error) {
	if stdin {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("standard input had no password")
		}
		return line, nil
	}
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return "", errors.New("no terminal to ask for the password: use --password-stdin")
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(os.Stderr, prompt)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(os.Stderr)
		return string(b), err
	}
	one, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	two, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if one != two {
		return "", errors.New("the two passwords differ")
	}
	return one, nil
}

// longEnough holds a password to auth.min_password.
func (a *app) longEnough(password string) error {
	if least := a.cfg.Auth.MinPassword; utf8.RuneCountInString(password) < least {
		return fault.New(fault.Invalid, "the password is shorter than %d characters (auth.min_password)", least)
	}
	return nil
}

// madePassword is for an account whose password nobody gave: 20 characters, 100
// bits, of three kinds, in groups that can be read aloud.
func madePassword() string {
	for {
		b := make([]byte, 13)
		_, _ = rand.Read(b) // never fails
		text := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))[:20]
		if strings.ContainsAny(text, "234567") {
			return text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:]
		}
	}
}

func (a *app) userAdd(ctx context.Context, c *cli) error {
	in := c.User.Add
	u := directory.NewUser{User: directory.User{
		Kind: directory.KindUser, Address: in.Address, Addresses: in.Alias, Name: in.Name,
		Given: in.Given, Surname: in.Surname, OU: in.OU, Quota: int64(in.Quota), Enabled: true,
	}}
	if in.Room {
		u.Kind = directory.KindRoom
	}
	if in.Admin {
		u.Roles = directory.RoleAdmin
	}
	made := ""
	switch {
	case in.Room:
	case in.PasswordStdin || term.IsTerminal(int(os.Stdin.Fd())):
		var err error
		if u.Password, err = readPassword(in.PasswordStdin); err != nil {
			return err
		}
	default:
		made = madePassword()
		u.Password = made
	}
	if !in.Room {
		if err := a.longEnough(u.Password); err != nil {
			return err
		}
	}
	got, err := a.dir.AddUser(ctx, operator(), u)
	if err != nil {
		return err
	}
	if made != "" {
		return a.out.done(struct {
			directory.User
			Password string
		}{got, made}, "Added %s with the password %s", got.Address, made)
	}
	return a.out.done(got, "Added %s.", got.Address)
}

func (a *app) userList(ctx context.Context, _ *cli) error {
	var all []directory.User
	for p := (directory.Page{Limit: 1000}); ; {
		page, err := a.dir.Users(ctx, operator(), p)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < p.Limit {
			break
		}
		p.After = page[len(page)-1].ID
	}
	rows := make([][]any, len(all))
	for i, u := range all {
		state := "enabled"
		if !u.Enabled {
			state = "disabled"
		}
		if u.Roles&directory.RoleAdmin != 0 {
			state += ", admin"
		}
		rows[i] = []any{u.Address, u.Name, u.Kind, state, u.OU}
	}
	return a.out.list(all, []any{"Address", "Name", "Kind", "State", "Unit"}, rows)
}

func (a *app) userShow(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.Show.Address)
	if err != nil {
		return err
	}
	account, err := a.account(ctx, u)
	if err != nil {
		return err
	}
	forward, err := a.forwards(ctx, u.Address)
	if err != nil {
		return err
	}
	var shown any = u
	if account.ID != 0 {
		shown = struct {
			directory.User
			SignIn  directory.AccountState
			Forward string
		}{u, account, forward}
	}
	return a.out.show(shown, func(w io.Writer) {
		defer func() {
			for _, l := range accountLines(account) {
				fmt.Fprintf(w, "%-18s %s\n", l[0], l[1])
			}
		}()
		for _, f := range []struct{ name, value string }{
			{"Address", u.Address},
			{"Further addresses", strings.Join(without(u.Addresses, u.Address), ", ")},
			{"Name", u.Name},
			{"Kind", u.Kind.String()},
			{"Signs in as", u.UPN},
			{"Account", u.Account},
			{"Unit", u.OU},
			{"Title", u.Title},
			{"Department", u.Department},
			{"Phone", u.Phone},
			{"Quota", quotaText(u.Quota)},
			{"Mailbox", fmt.Sprintf("%d in %s", u.Mailbox, u.HomeMDB)},
			{"Mail goes to", forward},
			{"Enabled", fmt.Sprint(u.Enabled)},
			{"Administrator", fmt.Sprint(u.Roles&directory.RoleAdmin != 0)},
			{"Created", when(u.Created)},
			{"GUID", u.GUID},
		} {
			if f.value != "" {
				fmt.Fprintf(w, "%-18s %s\n", f.name, f.value)
			}
		}
	})
}

func quotaText(n int64) string {
	if n == 0 {
		return "the default"
	}
	return bytesText(n)
}

func without(list []string, one string) (rest []string) {
	for _, s := range list {
		if !strings.EqualFold(s, one) {
			rest = append(rest, s)
		}
	}
	return rest
}

func (a *app) userSet(ctx context.Context, c *cli) error {
	in := c.User.Set
	u, err := a.dir.UserByAddress(ctx, operator(), in.Address)
	if err != nil {
		return err
	}
	got, err := a.dir.UpdateUser(ctx, operator(), u.ID, func(u *directory.User) error {
		for _, f := range []struct{ from, to *string }{
			{in.Name, &u.Name},
			{in.Given, &u.Given},
			{in.Surname, &u.Surname},
			{in.Title, &u.Title},
			{in.Department, &u.Department},
			{in.Company, &u.Company},
			{in.Office, &u.Office},
			{in.Phone, &u.Phone},
			{in.Mobile, &u.Mobile},
		} {
			if f.from != nil {
				*f.to = *f.from
			}
		}
		if in.Quota != nil {
			u.Quota = int64(*in.Quota)
		}
		if in.Hidden != nil {
			u.Hidden = *in.Hidden
		}
		if in.Admin != nil {
			u.Roles &^= directory.RoleAdmin
			if *in.Admin {
				u.Roles |= directory.RoleAdmin
			}
		}
		for _, drop := range in.DropAlias {
			left := without(u.Addresses, drop)
			if len(left) == len(u.Addresses) || strings.EqualFold(drop, u.Address) {
				return fault.New(fault.NotFound, "%s is no further address of %s", drop, u.Address)
			}
			u.Addresses = left
		}
		u.Addresses = append(u.Addresses, in.Alias...)
		return nil
	})
	if err != nil {
		return err
	}
	if err := a.redirect(ctx, &got, &in.redirection); err != nil {
		return err
	}
	return a.out.done(got, "Changed %s.", got.Address)
}

func (a *app) userPasswd(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.Passwd.Address)
	if err != nil {
		return err
	}
	in := c.User.Passwd
	if in.Keep && !in.MustChange {
		return fault.New(fault.Invalid, "--keep goes with --must-change")
	}
	if !in.Keep {
		pw, err := readPassword(in.PasswordStdin)
		if err != nil {
			return err
		}
		if err := a.longEnough(pw); err != nil {
			return err
		}
		if err := a.dir.SetPassword(ctx, operator(), u.ID, pw); err != nil {
			return err
		}
	}
	if in.MustChange {
		if err := a.dir.SetMustChange(ctx, operator(), u.ID, true); err != nil {
			return err
		}
		return a.out.done(map[string]any{"changed": u.Address, "mustChange": true}, "%s must change the password before signing in.", u.Address)
	}
	return a.out.done(map[string]string{"changed": u.Address}, "The password of %s is changed.", u.Address)
}

func (a *app) setEnabled(ctx context.Context, address string, on bool) error {
	u, err := a.dir.UserByAddress(ctx, operator(), address)
	if err != nil {
		return err
	}
	if err := a.dir.SetEnabled(ctx, operator(), u.ID, on); err != nil {
		return err
	}
	word := "disabled"
	if on {
		word = "enabled"
	}
	return a.out.done(map[string]string{word: u.Address}, "%s is %s.", u.Address, word)
}

func (a *app) userDisable(ctx context.Context, c *cli) error {
	return a.setEnabled(ctx, c.User.Disable.Address, false)
}

func (a *app) userEnable(ctx context.Context, c *cli) error {
	return a.setEnabled(ctx, c.User.Enable.Address, true)
}

func (a *app) userRename(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.Rename.Address)
	if err != nil {
		return err
	}
	got, err := a.dir.RenameUser(ctx, operator(), u.ID, c.User.Rename.To)
	if err != nil {
		return err
	}
	return a.out.done(got, "%s is now %s; mail to the old address still arrives.", u.Address, got.Address)
}

func (a *app) userRemove(ctx context.Context, c *cli) error {
	u, err := a.dir.UserByAddress(ctx, operator(), c.User.Remove.Address)
	if err != nil {
		return err
	}
	if err := a.dir.RemoveUser(ctx, operator(), u.ID); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": u.Address}, "Removed %s.", u.Address)
}

// userImport adds users from CSV. Columns by the names of the header line:
// address and name are required; given, surname, ou, title, department,
// company, office, phone, mobile, password, alias (several separated by
// spaces), room and admin (yes) may be there. A user that exists is left alone.
func (a *app) userImport(ctx context.Context, c *cli) error {
	f, err := os.Open(c.User.Import.File)
	if err != nil {
		return err
	}
	defer f.Close()
	rows, err := readPeople(f, c.User.Import.File)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.user.Password == "" {
			continue // nobody signs in until a password is set
		}
		if err := a.longEnough(r.user.Password); err != nil {
			return fmt.Errorf("%s, line %d, %s: %w", c.User.Import.File, r.line, r.user.Address, err)
		}
	}
	res := struct{ Added, Present int }{}
	bar := progress("adding users", int64(len(rows)), false)
	for chunk := range slices.Chunk(rows, 100) {
		added, err := a.addPeople(ctx, chunk)
		if err != nil {
			_ = bar.Exit()
			return fmt.Errorf("%s, %w", c.User.Import.File, err)
		}
		res.Added += added
		res.Present += len(chunk) - added
		_ = bar.Add(len(chunk))
	}
	_ = bar.Finish()
	return a.out.done(res, "%s added, %d were there already.", count(res.Added, "user"), res.Present)
}

// addPeople adds users in one transaction or, when somebody among them is there
// already, one by one. It tells how many were added.
func (a *app) addPeople(ctx context.Context, rows []person) (int, error) {
	list := make([]directory.NewUser, len(rows))
	for i, r := range rows {
		list[i] = r.user
	}
	if _, err := a.more.bulk.AddUsers(ctx, operator(), list); err == nil {
		return len(rows), nil
	}
	added := 0
	for _, r := range rows {
		_, err := a.dir.AddUser(ctx, operator(), r.user)
		switch {
		case isExists(err):
		case err != nil:
			return added, fmt.Errorf("line %d, %s: %w", r.line, r.user.Address, err)
		default:
			added++
		}
	}
	return added, nil
}

type person struct {
	line int
	user directory.NewUser
}

func readPeople(r io.Reader, name string) ([]person, error) {
	if strings.HasSuffix(strings.ToLower(name), ".ldif") || strings.HasSuffix(strings.ToLower(name), ".ldf") {
		return readLDIF(r, name)
	}
	cr := csv.NewReader(r)
	cr.FieldsPerRecord = 0
	head, err := cr.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is empty: a header line is wanted, such as address,name,password", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range head {
		head[i] = strings.ToLower(strings.TrimSpace(head[i]))
	}
	var all []person
	for {
		rec, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := cr.FieldPos(0)
		u := directory.NewUser{User: directory.User{Kind: directory.KindUser, Enabled: true}}
		for i, v := range rec {
			if !setColumn(&u, head[i], strings.TrimSpace(v)) {
				return nil, fmt.Errorf("%s: unknown column %q in the header line", name, head[i])
			}
		}
		if u.Address == "" || u.Name == "" {
			return nil, fmt.Errorf("%s, line %d: address and name are required", name, line)
		}
		all = append(all, person{line, u})
	}
}

func setColumn(u *directory.NewUser, column, v string) bool {
	text := map[string]*string{
		"address": &u.Address, "mail": &u.Address, "name": &u.Name, "given": &u.Given, "surname": &u.Surname,
		"ou": &u.OU, "title": &u.Title, "department": &u.Department, "company": &u.Company, "office": &u.Office,
		"phone": &u.Phone, "mobile": &u.Mobile, "password": &u.Password, "account": &u.Account, "upn": &u.UPN,
	}
	if p := text[column]; p != nil {
		*p = v
		return true
	}
	yes := strings.EqualFold(v, "yes") || strings.EqualFold(v, "true") || v == "1"
	switch column {
	case "alias":
		u.Addresses = strings.Fields(v)
	case "room":
		if yes {
			u.Kind = directory.KindRoom
		}
	case "admin":
		if yes {
			u.Roles = directory.RoleAdmin
		}
	default:
		return false
	}
	return true
}
