package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waypost/internal/fault"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "waypost.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultIsValid(t *testing.T) {
	got, err := Load(Source{})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.finish()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Hostname == "" || !got.Database.Private() {
		t.Errorf("hostname %q, private %t", got.Hostname, got.Database.Private())
	}
}

// What describe prints is a valid file and says exactly the default.
func TestDescribeIsTheDefault(t *testing.T) {
	text := Describe()
	got, err := Load(Source{File: write(t, text)})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := Default()
	want.finish()
	want.Database.MailURLs, want.Links.LMTPFor = map[string]string{}, map[string]string{}
	got.Data = want.Data
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-default +described)\n%s", diff)
	}
	for line := range strings.Lines(text) {
		if len(line) > 200 {
			t.Errorf("long line %q", line)
		}
	}
}

func TestEveryKeyHasItsText(t *testing.T) {
	l := &loader{cfg: Default(), leaves: map[string]leaf{}}
	l.collect(reflect.ValueOf(l.cfg).Elem(), "")
	name := regexp.MustCompile(`^([a-z]+\.)?[a-z0-9_]+$`)
	for key, f := range l.leaves {
		if !name.MatchString(key) {
			t.Errorf("key %q", key)
		}
		if doc := f.field.Tag.Get("doc"); !strings.HasSuffix(doc, ".") || doc == "" {
			t.Errorf("%s: text %q", key, doc)
		}
		if form := f.field.Tag.Get("form"); form != "" && forms[form] == nil {
			t.Errorf("%s: unknown form %q", key, form)
		}
	}
}

func TestFileEnvironmentFlags(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("postgres://d:word@db/x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := write(t, `
hostname = "Mail.Example.ORG."
data = "/srv/waypost"
[listen]
smtp = "0.0.0.0:25"
pop3 = "off"
pop3s = ""
[database]
mail_urls = { one = "postgres://m@db/one" }
[database.nothing]
[tls]
cert = "cert.pem"
key = "/etc/key.pem"
[smtp]
max_message_size = "150MiB"
[quota]
mailbox = 1000000
`)
	text, _ := os.ReadFile(path)
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "[database.nothing]\n", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(Source{
		Env: []string{
			"PATH=/bin", "WAYPOST_CONFIG=" + path, "WAYPOST_SOMETHING_ELSE=x", "WAYPOST_CORPUS=/corpus",
			"WAYPOST_LISTEN_SMTP=127.0.0.1:0", "WAYPOST_LISTEN_IMAP=[::1]:143", "WAYPOST_LISTEN_HTTPS=*:443",
			"WAYPOST_DATABASE_DIRECTORY_URL_FILE=" + secret,
			"WAYPOST_DATABASE_MAIL_URLS_TWO=postgres://m@db/two",
			"WAYPOST_SMTP_MAX_RECIPIENTS=500", "WAYPOST_EAS_PIN_REQUIRED=false",
			"WAYPOST_LINKS_LMTP=a:24, b:24",
			"WAYPOST_LINKS_DIRECTORY=https://a:2082 https://b:2082", "WAYPOST_LINKS_RELAY=a:25 b:25",
			"WAYPOST_LINKS_LMTP_FOR=default=a:24 second=b:24",
			"WAYPOST_AUTH_PROOF_LIFE=2h", "WAYPOST_LISTEN_LDAPS=127.0.0.1:636", "WAYPOST_QUOTA_RECOVERABLE=0",
		},
		Set: map[string]string{"listen.imap": "127.0.0.1:1430", "log.level": "debug"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, got, want any }{
		{"hostname", got.Hostname, "mail.example.org"},
		{"smtp hostname follows", got.SMTP.Hostname, "mail.example.org"},
		{"data", got.Data, "/srv/waypost"},
		{"environment over file", got.Listen.SMTP, Address("127.0.0.1:0")},
		{"flag over environment", got.Listen.IMAP, Address("127.0.0.1:1430")},
		{"star", got.Listen.HTTPS, Address(":443")},
		{"off", got.Listen.POP3.Open(), false},
		{"empty", got.Listen.POP3S.Open(), false},
		{"untouched", got.Listen.IMAPS, Address("127.0.0.1:2993")},
		{"secret from a file", got.Database.DirectoryURL, "postgres://d:word@db/x"},
		{"mail databases", got.Database.Mail(), map[string]string{"one": "postgres://m@db/one", "two": "postgres://m@db/two"}},
		{"private", got.Database.Private(), false},
		{"relative to the file", got.TLS.Cert, filepath.Join(filepath.Dir(path), "cert.pem")},
		{"absolute", got.TLS.Key, "/etc/key.pem"},
		{"size", got.SMTP.MaxMessageSize, Size(150 << 20)},
		{"size in bytes", got.Quota.Mailbox, Size(1000000)},
		{"no quota", got.Quota.Recoverable, Size(0)},
		{"number", got.SMTP.MaxRecipients, 500},
		{"bool", got.EAS.PINRequired, false},
		{"list", got.Links.LMTP, []string{"a:24", "b:24"}},
		{"several URLs", got.Links.Directory, "https://a:2082 https://b:2082"},
		{"several relays", got.Links.Relay, "a:25 b:25"},
		{"table", got.Links.LMTPFor, map[string]string{"default": "a:24", "second": "b:24"}},
		{"duration", got.Auth.ProofLife.D(), 2 * time.Hour},
		{"reserved", got.Listen.LDAPS, Address("127.0.0.1:636")},
		{"level", got.Log.Level, "debug"},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string // in this order; # stands for the file's name
	}{
		{"hostname = \"a\nb\"", []string{"#:1: "}},
		{"[listen]\nsmtp = \n", []string{"#:2: "}},
		{"\n[listen]\nsmpt = \"127.0.0.1:1\"\n", []string{"#:3: there is no key listen.smpt; did you mean listen.smtp?"}},
		{"[listne]\nsmtp = \"127.0.0.1:1\"", []string{"#:1: there is no section [listne]; did you mean listen?"}},
		{"nonsense = 1", []string{"#:1: there is no key nonsense\n"}},
		{"max_recipients = 1000", []string{"#:1: there is no key max_recipients; did you mean smtp.max_recipients?"}},
		{"listen = 5", []string{"#:1: listen is a section"}},
		{"[smtp]\nmax_recipients = \"many\"", []string{"#:2: smtp.max_recipients: a whole number is wanted, not a text"}},
		{"[smtp]\nmax_recipients = 1.5", []string{"#:2: smtp.max_recipients: a whole number is wanted, not the number 1.5"}},
		{"[smtp]\nmax_recipients = 5", []string{"#:2: smtp.max_recipients: must be at least 100, not 5"}},
		{"[smtp]\nmax_message_size = \"huge\"", []string{`"huge" is not a size`}},
		{"[smtp]\nmax_message_size = \"900GiB\"", []string{"#:2: smtp.max_message_size: must be at most 2GiB, not 900GiB"}},
		{"[links]\nlmtp = \"a:24\"", []string{`#:2: links.lmtp: a list is wanted: ["a:24"]`}},
		{"[links]\nlmtp = [\"a:24\", \"b\"]", []string{`#:2: links.lmtp: "b" is not host:port`}},
		{"[eas]\nlock_after = \"soon\"", []string{`"soon" is not a duration`}},
		{"[eas]\npin_required = \"yes\"", []string{"#:2: eas.pin_required: true or false is wanted, not a text"}},
		{"[eas]\nheartbeat_min = \"30m\"\nheartbeat_max = \"20m\"", []string{"#:2: eas.heartbeat_min: eas.heartbeat_min 30m is longer than"}},
		{"[auth]\nproof_life = \"30m\"", []string{"#:2: auth.proof_life: auth.proof_life 30m must be longer than eas.heartbeat_max 59m"}},
		{"[auth]\nproof_life = 5", []string{"#:2: auth.proof_life: a duration in quotes like"}},
		{"[auth]\nproof_life = \"-5m\"", []string{`"-5m" is not a duration`}},
		{"[listen]\nimap = \"143\"", []string{`#:2: listen.imap: "143" is not host:port, nor "off"`}},
		{"[listen]\nimap = \"127.0.0.1:99999\"", []string{"the port is not a number up to 65535"}},
		{"[listen]\nimap = \"bad host:1\"", []string{"neither an address nor a host name"}},
		{"[log]\nlevel = \"dbug\"", []string{`"dbug" is none of debug, info, warn, error; did you mean debug?`}},
		{"[tls]\ncert = \"x.pem\"", []string{"#:2: tls.cert: tls.cert and tls.key go together"}},
		{"[database]\nmail_url = \"mysql://u:topsecret@h/x\"", []string{"#:2: database.mail_url: not a URL like postgres://"}},
		{"[database]\nmail_url = \"postgres://u:topsecret@h:port/x\"", []string{"#:2: database.mail_url: not a URL"}},
		{"[database.mail_urls]\ndefault = \"postgres://h/x\"\n[database]\nmail_url = \"postgres://h/y\"", []string{"given by database.mail_url and by"}},
		{"[links]\ndirectory = \"host:1\"", []string{"#:2: links.directory: "}},
		{"[listen]\nsmpt = \"x\"\n[auth]\nproof_life = 1\n[log]\nlevel = 1", []string{"#:2: ", "#:4: ", "#:6: "}},
	} {
		path := write(t, tt.text)
		_, err := Load(Source{File: path})
		if fault.Of(err) != fault.Invalid {
			t.Errorf("%q: got %v, want Invalid", tt.text, err)
			continue
		}
		rest := strings.ReplaceAll(err.Error()+"\n", path, "#")
		if strings.Contains(rest, "topsecret") {
			t.Errorf("the message tells the password: %s", rest)
		}
		for _, want := range tt.want {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("%q: got %q, want %q in it", tt.text, rest, want)
			}
			rest = after
		}
	}
	if _, err := Load(Source{File: "/nonexistent/x.toml"}); fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "/nonexistent/x.toml: no such file") {
		t.Errorf("missing file: %v", err)
	}
}

func TestMistakesInTheEnvironment(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"WAYPOST_LISTEN_SMPT=x", "WAYPOST_LISTEN_SMPT: there is no such key; did you mean WAYPOST_LISTEN_SMTP?"},
		{"WAYPOST_LISTEN_SMTP=x", `WAYPOST_LISTEN_SMTP: "x" is not host:port`},
		{"WAYPOST_SMTP_MAX_RECIPIENTS=x", `WAYPOST_SMTP_MAX_RECIPIENTS: "x" is not a whole number`},
		{"WAYPOST_EAS_PIN_REQUIRED=maybe", `WAYPOST_EAS_PIN_REQUIRED: "maybe" is neither true nor false`},
		{"WAYPOST_LINKS_LMTP_FOR=nonsense", "WAYPOST_LINKS_LMTP_FOR: entries NAME=VALUE"},
		{"WAYPOST_DATABASE_MAIL_URLS_X=nonsense", "WAYPOST_DATABASE_MAIL_URLS_X: x: not a URL"},
		{"WAYPOST_DATABASE_QUEUE_URL_FILE=/nonexistent", "WAYPOST_DATABASE_QUEUE_URL_FILE: cannot read /nonexistent"},
	} {
		_, err := Load(Source{Env: []string{tt.env}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.env, err, tt.want)
		}
	}
	if _, err := Load(Source{Set: map[string]string{"listen.smpt": "x"}}); err == nil || !strings.Contains(err.Error(), "--set listen.smpt: there is no key listen.smpt; did you mean listen.smtp?") {
		t.Errorf("got %v", err)
	}
}

func TestDurationsAndSizes(t *testing.T) {
	for in, want := range map[string]string{"90s": "90s", "1h30m": "90m", "14d": "14d", "48h": "2d", "0": "0s", "1500ms": "1.5s"} {
		if d, err := parseDuration(in); err != nil || d.String() != want {
			t.Errorf("duration %s: got %v (%v), want %s", in, d, err, want)
		}
	}
	for in, want := range map[string]string{"50MiB": "50MiB", "50 mib": "50MiB", "1024": "1KiB", "1kb": "1000B", "0": "0B", "3TiB": "3TiB"} {
		if s, err := parseSize(in); err != nil || s.String() != want {
			t.Errorf("size %s: got %v (%v), want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "1.5GiB", "99999999TiB", "MiB"} {
		if s, err := parseSize(in); err == nil {
			t.Errorf("size %q: got %v, want an error", in, s)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(Describe())
	f.Add("[a.b]\nc = [1, {d = 2}]\n\"x.y\" = '''\n'''\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Load(Source{File: write(t, text)})
		if err != nil && fault.Of(err) != fault.Invalid {
			t.Errorf("got %v, want Invalid", err)
		}
	})
}
