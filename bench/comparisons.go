package main

// comparison is one kind of load, for the peer and for Waypost alike.
type comparison struct {
	name    string
	peer    string // the peer's start script; "" if Waypost is measured alone
	script  string // instead of the load generator
	mayFail bool   // the script's exit status says nothing
	figures []figure

	args     func(addr map[string]string) []string
	env      func(addr map[string]string) []string
	peerArgs func() []string
	peerEnv  func() []string
}

// figure is one number of a result.
type figure struct {
	name, unit string
	lower      bool // a smaller figure is better
	pick       func(map[string]any) (float64, bool)
}

// at picks a number by its path in the result.
func at(path ...string) func(map[string]any) (float64, bool) {
	return func(m map[string]any) (float64, bool) {
		for _, p := range path[:len(path)-1] {
			next, ok := m[p].(map[string]any)
			if !ok {
				return 0, false
			}
			m = next
		}
		v, ok := m[path[len(path)-1]].(float64)
		return v, ok
	}
}

// The peers' ports, as their scripts set them.
const (
	peerSMTP = "127.0.0.1:10025"
	peerIMAP = "127.0.0.1:10143"
	peerEAS  = "http://127.0.0.1:10080/Microsoft-Server-ActiveSync"
)

func comparisons() []comparison {
	// imap is a comparison of the generator's imap modes against Dovecot.
	imap := func(name string, figures []figure, args ...string) comparison {
		with := func(addr string) []string { return append([]string{"imap", "-addr", addr}, args...) }
		return comparison{
			name: name, peer: "dovecot", figures: figures,
			args: func(a map[string]string) []string { return with(a["imap"]) }, peerArgs: func() []string { return with(peerIMAP) },
			env: noEnv, peerEnv: func() []string { return nil },
		}
	}
	smtp := func(addr, imapAddr string) []string {
		return []string{"smtp", "-addr", addr, "-users", "1-100", "-count", "3000", "-conns", "8", "-sizes", "10k", "-verify-imap", imapAddr, "-empty-first"}
	}
	idle := func(addr, via string) []string {
		return []string{"imap", "-addr", addr, "-mode", "idle", "-users", "121-220", "-conns", "100", "-senders", "4", "-count", "200", "-via", "smtp", "-via-addr", via}
	}
	eas := func(name string, figures []figure, args ...string) comparison {
		with := append(args, "--user-format", "u%04d@example.test", "--first", "1", "--count", "8", "--devices", "8")
		return comparison{
			name: name, peer: "sogo", script: "eas/load.py", figures: figures, mayFail: true,
			args: func(map[string]string) []string { return with }, peerArgs: func() []string { return with },
			env: func(a map[string]string) []string {
				return []string{"EAS_URL=https://" + a["https"] + "/Microsoft-Server-ActiveSync", "EAS_INSECURE_TLS=1", "EAS_PASSWORD=" + password, "IMAP_ADDR=" + a["imap"], "SMTP_ADDR=" + a["smtp"]}
			},
			peerEnv: func() []string {
				return []string{"EAS_URL=" + peerEAS, "EAS_PASSWORD=" + password, "IMAP_ADDR=" + peerIMAP, "SMTP_ADDR=" + peerSMTP, "EAS_IMAP_MODSEQ=1"}
			},
		}
	}
	return []comparison{
		{
			name: "smtp", peer: "postfix",
			figures: []figure{
				{name: "SMTP, 10 KiB, 8 connections: visible over IMAP", unit: "/s", pick: at("extra", "e2e_per_s")},
				{name: "SMTP, 10 KiB, 8 connections: accepted", unit: "/s", pick: at("ops_per_s")},
			},
			args: func(a map[string]string) []string { return smtp(a["smtp"], a["imap"]) }, peerArgs: func() []string { return smtp(peerSMTP, peerIMAP) },
			env: noEnv, peerEnv: func() []string { return nil },
		},
		imap("append", []figure{{name: "APPEND, 10 KiB, 4 mailboxes", unit: "/s", pick: at("ops_per_s")}},
			"-mode", "fill", "-users", "111-114", "-fill", "10000", "-conns", "4"),
		imap("list", []figure{
			{name: "UID FETCH 1:* (FLAGS ENVELOPE), 10,000 messages, one at a time", unit: "ms", lower: true, pick: at("by_op", "list", "p50_ms")},
		}, "-mode", "mix", "-mix", "list:1", "-users", "111-111", "-conns", "1", "-count", "40", "-ops-per-login", "0"),
		imap("body", []figure{{name: "UID FETCH BODY.PEEK[], warm, 4 connections", unit: "/s", pick: at("ops_per_s")}},
			"-mode", "mix", "-mix", "body:1", "-users", "111-114", "-conns", "4", "-duration", "8s", "-ops-per-login", "0"),
		imap("mix", []figure{
			{name: "mail client's mix, 10,000 messages, 4 connections", unit: "/s", pick: at("ops_per_s")},
			{name: "SELECT of 10,000", unit: "ms", lower: true, pick: at("by_op", "select", "p50_ms")},
			{name: "STORE of one flag", unit: "ms", lower: true, pick: at("by_op", "store", "p50_ms")},
			{name: "SEARCH by Message-ID or subject", unit: "ms", lower: true, pick: at("by_op", "search", "p50_ms")},
			{name: "connect and LOGIN", unit: "ms", lower: true, pick: at("by_op", "login", "p50_ms")},
		}, "-mode", "mix", "-users", "111-114", "-conns", "4", "-duration", "20s"),
		{
			name: "idle", peer: "postfix",
			figures: []figure{{name: "push: accepted by SMTP to EXISTS on IDLE", unit: "ms", lower: true, pick: at("by_op", "push_after_accept", "p50_ms")}},
			args:    func(a map[string]string) []string { return idle(a["imap"], a["smtp"]) }, peerArgs: func() []string { return idle(peerIMAP, peerSMTP) },
			env: noEnv, peerEnv: func() []string { return nil },
		},
		eas("eas-initial", []figure{{name: "ActiveSync, initial sync of 1,000 messages, 8 phones", unit: "messages/s", pick: at("setup", "messages_per_s")}},
			"initial", "--messages", "1000", "--window", "100"),
		eas("eas-incremental", []figure{{name: "ActiveSync, sync that shows one new message", unit: "ms", lower: true, pick: at("operations", "Sync", "p50_ms")}},
			"incremental", "--rounds", "5"),
		eas("eas-ping", []figure{{name: "push: accepted by SMTP to the answer of Ping", unit: "ms", lower: true, pick: at("operations", "delivery to Ping", "p50_ms")}},
			"ping", "--rounds", "2", "--heartbeat", "60"),
	}
}

func noEnv(map[string]string) []string { return nil }
