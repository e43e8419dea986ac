// Package config is the one configuration of all programs: a TOML file, the
// environment and flags, in that order, the later one winning.
//
// Its law: every key is a field of Config with its text beside it, from which
// `waypost config describe` prints the file with every default. A key that
// does not exist, a value of a wrong type or out of its bounds is refused with
// file, line and key (or the variable's name), all mistakes at once. A program
// ignores the sections that it does not need, but nobody ignores a mistake.
// There is no key that nothing heeds, except those reserved for doors that do
// not exist yet: they are accepted, so that a file may be written ahead, and
// not described.
//
// The variable of a key is WAYPOST_SECTION_KEY, and WAYPOST_SECTION_KEY_FILE
// names a file to read the value from, for secrets. Lists are separated by
// commas, the entries of a table (NAME=VALUE) by spaces.
package config

import (
	"os"
	"strings"
	"time"
)

// Config is everything that can be configured.
type Config struct {
	Data     string `toml:"data" form:"dir" doc:"Folder of the private database cluster, keys, certificates and run/addresses.json."`
	Hostname string `toml:"hostname" form:"hostname" doc:"Name by which the world reaches this organisation's mail, such as mail.example.org. Empty: this machine's name."`

	Listen    Listen    `toml:"listen" doc:"Addresses to listen on, host:port. Port 0 takes any free port; \"off\" or \"\" closes the door."`
	Database  Database  `toml:"database" doc:"PostgreSQL. Without any URL waypost serve runs a private cluster below the data folder."`
	TLS       TLS       `toml:"tls" doc:"Certificates. Until they are configured, self-signed ones are made and kept below the data folder."`
	Links     Links     `toml:"links" doc:"Where the separate programs find each other. waypost serve needs none of it."`
	SMTP      SMTP      `toml:"smtp" doc:"Mail from and to the world."`
	Auth      Auth      `toml:"auth" doc:"Signing in."`
	SignIn    SignIn    `toml:"signin" doc:"The pages on which people sign in, and programs ask for access (OAuth 2.1, OpenID Connect)."`
	OIDC      OIDC      `toml:"oidc" doc:"Sign-in through another OpenID Connect provider, besides passwords and passkeys. Off without an issuer."`
	LDAP      LDAP      `toml:"ldap" doc:"The directory for other programs, over LDAP."`
	EAS       EAS       `toml:"eas" doc:"Phones (Exchange ActiveSync): the organisation's policy and the bounds of long polling."`
	Feeds     Feeds     `toml:"feeds" doc:"Calendars elsewhere that people subscribe to."`
	Quota     Quota     `toml:"quota" doc:"Sizes of mailboxes, unless one has its own. 0 means without limit."`
	Retention Retention `toml:"retention" doc:"How long what was deleted is kept."`
	Limits    Limits    `toml:"limits" doc:"Connections at each door."`
	Log       Log       `toml:"log" doc:"The log on standard error."`
	Metrics   Metrics   `toml:"metrics" doc:"What listen.metrics serves besides /healthz, /readyz and the product's own figures at /metrics."`
}

// Listen holds the address of each door, by its name in run/addresses.json.
type Listen struct {
	SMTP        Address `toml:"smtp" doc:"Mail from other servers (25)."`
	Submission  Address `toml:"submission" doc:"Mail from the organisation's own people, STARTTLS (587)."`
	Submissions Address `toml:"submissions" doc:"The same with TLS from the start (465)."`
	LMTP        Address `toml:"lmtp" doc:"Delivery into mailboxes, from waypost-smtp (24)."`
	IMAP        Address `toml:"imap" doc:"IMAP with STARTTLS (143)."`
	IMAPS       Address `toml:"imaps" doc:"IMAP with TLS from the start (993)."`
	POP3        Address `toml:"pop3" reserved:"yes" doc:"POP3 with STLS (110)."`
	POP3S       Address `toml:"pop3s" reserved:"yes" doc:"POP3 with TLS from the start (995)."`
	LDAP        Address `toml:"ldap" doc:"LDAP with StartTLS (389)."`
	LDAPS       Address `toml:"ldaps" doc:"LDAP with TLS from the start (636)."`
	GC          Address `toml:"gc" doc:"Global catalog (3268)."`
	GCS         Address `toml:"gcs" doc:"Global catalog with TLS from the start (3269)."`
	HTTP        Address `toml:"http" doc:"The same without TLS, for a reverse proxy on this machine; everybody else is sent to HTTPS (80)."`
	HTTPS       Address `toml:"https" doc:"ActiveSync, CalDAV, CardDAV, Autodiscover and the pages of sign-in (443)."`
	Metrics     Address `toml:"metrics" doc:"/healthz, /readyz and /metrics. Keep it inside."`
	Directory   Address `toml:"directory" doc:"The directory for the other programs, mutual TLS. waypost serve does not open it."`
	Relay       Address `toml:"relay" doc:"Mail sent from mailboxes, from waypost-store and waypost-frontend to waypost-smtp, mutual TLS. waypost serve does not open it."`
}

// Database says where the three schemas are.
type Database struct {
	DirectoryURL     string            `toml:"directory_url" form:"postgres" secret:"yes" doc:"URL of the directory database, postgres://waypost_directory:PASSWORD@host/waypost. Needed by waypost-directory."`
	MailURL          string            `toml:"mail_url" form:"postgres" secret:"yes" doc:"URL of the mailbox database \"default\". Needed by waypost-store and waypost-frontend."`
	MailURLs         map[string]string `toml:"mail_urls" form:"postgres" secret:"yes" doc:"URLs of further mailbox databases by name (a user's homeMDB)."`
	QueueURL         string            `toml:"queue_url" form:"postgres" secret:"yes" doc:"URL of the database of the outgoing queue. Needed by waypost-smtp."`
	AdminURL         string            `toml:"admin_url" form:"postgres" secret:"yes" doc:"URL of a superuser, for waypost migrate --roles only."`
	PoolSize         int               `toml:"pool_size" min:"2" max:"1000" doc:"Most connections of one program to one database; two more listen and notify."`
	StatementTimeout Duration          `toml:"statement_timeout" min:"1s" max:"1h" doc:"The server ends a statement that takes longer."`
	Wait             Duration          `toml:"wait" min:"0s" max:"1h" doc:"How long a program waits at its start for a database that is not there yet."`
}

// Mail gives the URLs of all mailbox databases by name.
func (d Database) Mail() map[string]string {
	all := make(map[string]string, len(d.MailURLs)+1)
	for name, u := range d.MailURLs {
		all[name] = u
	}
	if d.MailURL != "" {
		all["default"] = d.MailURL
	}
	return all
}

// Private tells that no database is configured, so that the private cluster is meant.
func (d Database) Private() bool {
	return d.DirectoryURL == "" && d.QueueURL == "" && len(d.Mail()) == 0
}

// TLS says which certificates to show and to trust.
type TLS struct {
	Cert       string `toml:"cert" form:"file" doc:"Certificate chain for all doors, PEM. Read again when it changes."`
	Key        string `toml:"key" form:"file" doc:"Its private key, PEM."`
	MinVersion string `toml:"min_version" oneof:"1.0 1.1 1.2 1.3" doc:"Oldest TLS spoken. Below 1.2 is for old phones only."`
	LinkCA     string `toml:"link_ca" form:"file" doc:"Certificate authority of the links between the programs. Empty: links/ca.pem below the data folder."`
	LinkCert   string `toml:"link_cert" form:"file" doc:"This program's certificate on the links. Empty: links/PROGRAM.pem below the data folder."`
	LinkKey    string `toml:"link_key" form:"file" doc:"Its private key. Empty: links/PROGRAM.key below the data folder."`
}

// Links says where the other roles are.
type Links struct {
	LMTP      []string          `toml:"lmtp" form:"hostport" doc:"Store servers that deliver into every mailbox database, host:port."`
	LMTPFor   map[string]string `toml:"lmtp_for" form:"hostports" doc:"Store servers for one mailbox database by its name, host:port, several separated by spaces."`
	Directory string            `toml:"directory" form:"urls" doc:"URL of waypost-directory, https://host:port; several separated by spaces."`
	Relay     string            `toml:"relay" form:"hostports" doc:"waypost-smtp's relay door, host:port; several separated by spaces."`
}

// SMTP sets the transport.
type SMTP struct {
	Hostname       string   `toml:"hostname" form:"hostname" doc:"Name in greetings and Received. Empty: hostname above."`
	Postmaster     string   `toml:"postmaster" form:"mailbox" doc:"Who gets mail for postmaster without a domain (RFC 5321 section 4.5.1). Empty: postmaster at the domain of hostname, who is the administrator unless somebody has that address."`
	MaxMessageSize Size     `toml:"max_message_size" min:"64KiB" max:"2GiB" doc:"Largest message accepted by SMTP, LMTP and IMAP."`
	MaxRecipients  int      `toml:"max_recipients" min:"100" max:"100000" doc:"Most recipients of one message (RFC 5321 asks for 100 at least)."`
	Moderation     Duration `toml:"moderation" min:"1m" max:"30d" doc:"How long a message to a moderated group waits for a decision before it is returned."`
	SmartHost      string   `toml:"smart_host" form:"hostport" doc:"Send all outside mail to this server, host:port, instead of by MX."`
	SmartHostUser  string   `toml:"smart_host_user" doc:"User name there."`
	SmartHostPass  string   `toml:"smart_host_password" secret:"yes" doc:"Password there."`
	DNS            string   `toml:"dns" form:"hostport" doc:"Name server for MX look-ups, host:port. Empty: the system's."`
	OutboundPort   int      `toml:"outbound_port" min:"1" max:"65535" doc:"Port of other mail servers; anything but 25 is for tests."`
}

// Auth sets signing in.
type Auth struct {
	MinPassword       int      `toml:"min_password" min:"4" max:"128" doc:"Shortest password that the command line sets, in characters."`
	ProofLife         Duration `toml:"proof_life" min:"1m" max:"24h" doc:"How long a repeated sign-in with the same password is answered from memory; sliding."`
	PlaintextLoopback bool     `toml:"plaintext_loopback" doc:"Allow signing in to submission without TLS from this machine itself; IMAP always does."`
}

// SignIn sets the pages of sign-in.
type SignIn struct {
	URL   string   `toml:"url" form:"site" doc:"URL of the front ends as browsers see it, without a path; the issuer of tokens. Empty: https://HOSTNAME. Passkeys are bound to its name."`
	Hosts []string `toml:"hosts" form:"hostname" doc:"Further names by which browsers may reach it."`
}

// OIDC names another OpenID Connect provider.
type OIDC struct {
	Name      string `toml:"name" doc:"What the button on the sign-in page calls it."`
	Issuer    string `toml:"issuer" form:"site" doc:"Its issuer, a URL."`
	Client    string `toml:"client" doc:"The client id that it knows this server by; its redirect address is URL/signin/outside/back."`
	Secret    string `toml:"secret" secret:"yes" doc:"The client's secret."`
	ByAddress bool   `toml:"by_address" doc:"Let in, and link from then on, whose address at the provider is verified and one of ours. Without it nobody new gets in. Accounts are never made."`
}

// LDAP sets the LDAP doors.
type LDAP struct {
	Host            string `toml:"host" doc:"The name that referrals and the rootDSE give. Empty: hostname, or this machine's."`
	Anonymous       bool   `toml:"anonymous" doc:"Let programs that have not signed in search; they see what access-control entries give to everyone."`
	Plaintext       bool   `toml:"plaintext" doc:"Allow signing in without TLS from other machines. Passwords can then be read on the network."`
	ActiveDirectory bool   `toml:"active_directory" doc:"Tell clients that this is an Active Directory; some then use more of it, and some try NTLM."`
	MaxPage         int    `toml:"max_page" min:"10" max:"100000" doc:"Most entries of one answer; more come in pages."`
	ClientCA        string `toml:"client_ca" doc:"PEM file of the authorities whose client certificates sign in (SASL EXTERNAL), by the mail address in them."`
}

// EAS is the policy for phones.
type EAS struct {
	PINRequired          bool     `toml:"pin_required" doc:"A phone must have a PIN or password."`
	PINMinLength         int      `toml:"pin_min_length" min:"1" max:"16" doc:"Shortest PIN."`
	PINAlphanumeric      bool     `toml:"pin_alphanumeric" doc:"The PIN must have letters too."`
	PINSimpleAllowed     bool     `toml:"pin_simple_allowed" doc:"Allow 1234 and 1111."`
	PINMaxFailed         int      `toml:"pin_max_failed" min:"4" max:"16" doc:"The phone wipes itself after so many wrong PINs."`
	PINExpires           Duration `toml:"pin_expires" min:"0s" max:"17520h" doc:"A new PIN is due after this time; 0s: never."`
	PINHistory           int      `toml:"pin_history" min:"0" max:"50" doc:"Earlier PINs that may not come back."`
	LockAfter            Duration `toml:"lock_after" min:"1m" max:"9999s" doc:"The phone locks itself when idle."`
	Encryption           bool     `toml:"encryption" doc:"The phone's storage must be encrypted."`
	AllowNonProvisioning bool     `toml:"allow_non_provisioning" doc:"Let phones in that cannot enforce the policy."`
	HeartbeatMin         Duration `toml:"heartbeat_min" min:"1s" max:"1h" doc:"Shortest long poll."`
	HeartbeatMax         Duration `toml:"heartbeat_max" min:"1m" max:"59m" doc:"Longest long poll; keep it below auth.proof_life and the reverse proxy's time-out."`
}

// Feeds says where calendars are fetched from.
type Feeds struct {
	Inside []string `toml:"inside" form:"network" doc:"Networks of this organisation that calendars may be fetched from, such as 10.1.0.0/16. Empty: from the Internet only."`
	Ports  []string `toml:"ports" form:"port" doc:"Ports besides 80 and 443."`
}

// Quota holds the default sizes.
type Quota struct {
	Mailbox     Size `toml:"mailbox" doc:"Size of a mailbox; beyond it nothing is delivered."`
	Recoverable Size `toml:"recoverable" doc:"Size of what a user deleted and can still get back; beyond it the oldest goes."`
}

// Retention holds times after which the purger works.
type Retention struct {
	Recoverable Duration `toml:"recoverable" min:"0s" max:"87600h" doc:"Deleted for good, but recoverable by the administrator."`
	Tombstones  Duration `toml:"tombstones" min:"24h" max:"87600h" doc:"Traces of deletions, for clients that were away; older clients start anew."`
	Blobs       Duration `toml:"blobs" min:"1h" max:"8760h" doc:"Content that nothing refers to any more."`
}

// Limits bounds the doors.
type Limits struct {
	Connections int `toml:"connections" min:"10" max:"1000000" doc:"Open connections at one door."`
	PerAddress  int `toml:"per_address" min:"1" max:"1000000" doc:"Open connections from one network address at one SMTP door; those from this machine are not counted."`
}

// Log sets the log.
type Log struct {
	Level  string `toml:"level" oneof:"debug info warn error" doc:"Least level shown."`
	Format string `toml:"format" oneof:"auto text json" doc:"auto: text on a terminal, JSON otherwise."`
}

// Metrics sets what is measured.
type Metrics struct {
	Runtime bool `toml:"runtime" doc:"Figures of the Go run-time system and the process."`
	Profile bool `toml:"profile" doc:"Profiles at /debug/pprof/, for developers."`
}

const day = 24 * Duration(time.Hour)

// Default gives the configuration of an empty file.
func Default() *Config {
	minute := Duration(time.Minute)
	return &Config{
		Data: "./data",
		Listen: Listen{
			SMTP: "127.0.0.1:2525", Submission: "127.0.0.1:2587", Submissions: "127.0.0.1:2465", LMTP: "127.0.0.1:2424",
			IMAP: "127.0.0.1:2143", IMAPS: "127.0.0.1:2993",
			LDAP: "127.0.0.1:2389", LDAPS: "127.0.0.1:2636", GC: "127.0.0.1:2268", GCS: "127.0.0.1:2269",
			HTTP: "127.0.0.1:2080", HTTPS: "127.0.0.1:2443", Metrics: "127.0.0.1:2081",
			Directory: "127.0.0.1:2082", Relay: "127.0.0.1:2526",
		},
		Database: Database{PoolSize: 8, StatementTimeout: Duration(30 * time.Second), Wait: Duration(30 * time.Second)},
		TLS:      TLS{MinVersion: "1.2"},
		Links:    Links{LMTP: []string{"127.0.0.1:2424"}, Directory: "https://127.0.0.1:2082", Relay: "127.0.0.1:2526"},
		SMTP: SMTP{
			MaxMessageSize: 50 << 20, MaxRecipients: 1000, Moderation: 5 * day, OutboundPort: 25,
		},
		Auth: Auth{MinPassword: 8, ProofLife: 90 * minute, PlaintextLoopback: true},
		OIDC: OIDC{Name: "single sign-on"},
		LDAP: LDAP{MaxPage: 1000},
		EAS: EAS{
			PINRequired: true, PINMinLength: 4, PINMaxFailed: 8, LockAfter: 15 * minute,
			HeartbeatMin: minute, HeartbeatMax: 59 * minute,
		},
		Quota:     Quota{Mailbox: 5 << 30, Recoverable: 5 << 30},
		Retention: Retention{Recoverable: 14 * day, Tombstones: 90 * day, Blobs: day},
		Limits:    Limits{Connections: 20000, PerAddress: 500},
		Log:       Log{Level: "info", Format: "auto"},
		Metrics:   Metrics{Runtime: true},
	}
}

// finish fills in what depends on the machine or on other keys.
func (c *Config) finish() {
	if c.Hostname == "" {
		if c.Hostname, _ = os.Hostname(); c.Hostname == "" {
			c.Hostname = "localhost"
		}
	}
	c.Hostname = strings.ToLower(strings.TrimSuffix(c.Hostname, "."))
	if c.SMTP.Hostname == "" {
		c.SMTP.Hostname = c.Hostname
	}
	if _, domain, ok := strings.Cut(c.SMTP.Hostname, "."); ok && c.SMTP.Postmaster == "" {
		if !strings.Contains(domain, ".") {
			domain = c.SMTP.Hostname
		}
		c.SMTP.Postmaster = "postmaster@" + domain
	}
}
