package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written like 90s, 15m, 4h or 14d.
type Duration time.Duration

// D is the time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string {
	t := time.Duration(d)
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if t >= u.unit && t%u.unit == 0 {
			return strconv.FormatInt(int64(t/u.unit), 10) + u.name
		}
	}
	return t.String()
}

// UnmarshalText reads what String writes, and what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = parseDuration(string(text))
	return err
}

func parseDuration(s string) (Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		if err == nil {
			return Duration(days) * day, nil
		}
	}
	t, err := time.ParseDuration(s)
	if err != nil || t < 0 {
		return 0, fmt.Errorf("%q is not a duration like 90s, 15m, 4h or 14d", s)
	}
	return Duration(t), nil
}

// Size is a number of bytes written like 512KiB, 50MiB or 2GiB.
type Size int64

var sizeUnits = []struct {
	name   string
	factor int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"B", 1},
	{"", 1},
}

func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if int64(s) >= u.factor && int64(s)%u.factor == 0 {
			return strconv.FormatInt(int64(s)/u.factor, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// UnmarshalText reads what String writes, and the other units.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = parseSize(string(text))
	return err
}

func parseSize(s string) (Size, error) {
	for _, u := range sizeUnits {
		n, ok := strings.CutSuffix(strings.ToLower(s), strings.ToLower(u.name))
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		if err == nil && v >= 0 && v <= (1<<62)/u.factor {
			return Size(v * u.factor), nil
		}
		break
	}
	return 0, fmt.Errorf("%q is not a size like 512KiB, 50MiB or 2GiB", s)
}

// Address is host:port to listen on, or "" for a closed door.
type Address string

// Open tells whether the door is to be opened.
func (a Address) Open() bool { return a != "" }

func parseAddress(s string) (Address, error) {
	if s == "" || strings.EqualFold(s, "off") {
		return "", nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port, nor \"off\"", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q: the port is not a number up to 65535", s)
	}
	if host != "" && host != "*" {
		if _, err := netip.ParseAddr(host); err != nil && !hostname.MatchString(host) {
			return "", fmt.Errorf("%q: %q is neither an address nor a host name", s, host)
		}
	}
	if host == "*" {
		host = ""
	}
	return Address(net.JoinHostPort(host, port)), nil
}

var hostname = regexp.MustCompile(`^(?i)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$`)

// forms check a text by the tag "form". A value in an error message must not
// tell a password.
var forms = map[string]func(string) error{
	"dir": func(s string) error {
		if s == "" {
			return fmt.Errorf("must name a folder")
		}
		return nil
	},
	"file": func(string) error { return nil }, // who reads it says more
	"hostname": func(s string) error {
		if len(s) > 253 || !hostname.MatchString(s) {
			return fmt.Errorf("%q is not a host name", s)
		}
		return nil
	},
	"mailbox": func(s string) error {
		local, domain, ok := strings.Cut(s, "@")
		if !ok || local == "" || !hostname.MatchString(domain) {
			return fmt.Errorf("%q is not a mail address", s)
		}
		return nil
	},
	"network": func(s string) error {
		if p, err := netip.ParsePrefix(s); err != nil || p != p.Masked() {
			return fmt.Errorf("%q is not a network like 10.1.0.0/16", s)
		}
		return nil
	},
	"port": func(s string) error {
		if n, err := strconv.Atoi(s); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%q is not a port", s)
		}
		return nil
	},
	"hostport":  checkHostport,
	"hostports": checkHostports,
	"urls": func(s string) error {
		for _, one := range strings.Fields(s) {
			u, err := url.Parse(one)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
				return fmt.Errorf("%q is not a URL like https://host:port", one)
			}
		}
		return nil
	},
	"site": func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%q is not a URL like https://mail.example.org", s)
		}
		return nil
	},
	"postgres": func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return fmt.Errorf("not a URL like postgres://user:password@host/database")
		}
		return nil
	},
}

func checkHostport(s string) error {
	a, err := parseAddress(s)
	if err != nil || !a.Open() || strings.HasPrefix(string(a), ":") || strings.HasSuffix(string(a), ":0") {
		return fmt.Errorf("%q is not host:port", s)
	}
	return nil
}

func checkHostports(s string) error {
	for _, one := range strings.Fields(s) {
		if err := checkHostport(one); err != nil {
			return err
		}
	}
	return nil
}
