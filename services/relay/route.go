package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	gosmtp "github.com/emersion/go-smtp"
)

// Resolver is what the relay asks of the DNS; *net.Resolver does it.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// maxHosts bounds the servers tried for one domain in one attempt.
const maxHosts = 8

var (
	errNullMX   = &gosmtp.SMTPError{Code: 556, EnhancedCode: gosmtp.EnhancedCode{5, 1, 10}, Message: "Domain takes no mail (null MX)"}
	errNoDomain = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 2}, Message: "Domain does not exist"}
	errLoop     = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 4, 6}, Message: "Mail for this domain comes back to us"}
	errLookup   = &gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 4, 3}, Message: "Domain look-up failed"}
	errLiteral  = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 2}, Message: "Address literals are not served"}
)

// hosts gives the names of the servers of a domain in the order to try them
// (RFC 5321 section 5.1, RFC 7505).
func (r *Relay) hosts(ctx context.Context, domain string) ([]string, error) {
	if strings.HasPrefix(domain, "[") {
		return nil, errLiteral
	}
	list, err := r.o.Resolver.LookupMX(ctx, domain)
	var dns *net.DNSError
	switch {
	case len(list) > 0: // some may have been malformed
	case err == nil, errors.As(err, &dns) && dns.IsNotFound:
		// No MX: the domain itself is its server.
		return []string{domain}, nil
	default:
		return nil, errLookup
	}
	if len(list) == 1 && strings.Trim(list[0].Host, ".") == "" {
		return nil, errNullMX
	}
	// Equal preferences in any order.
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	var hosts []string
	for _, mx := range list {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if host == strings.ToLower(r.o.Hostname) {
			// We are one of them: only better ones may be asked.
			hosts = better(list, mx.Pref)
			if len(hosts) == 0 {
				return nil, errLoop
			}
			return hosts, nil
		}
		if host != "" && len(hosts) < maxHosts {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return nil, errNullMX
	}
	return hosts, nil
}

func better(list []*net.MX, than uint16) []string {
	var hosts []string
	for _, mx := range list {
		if mx.Pref < than && len(hosts) < maxHosts {
			hosts = append(hosts, strings.ToLower(strings.TrimSuffix(mx.Host, ".")))
		}
	}
	return hosts
}

// hop is where a connection goes.
type hop struct {
	addr string // host:port
	name string // of the server, for logs and notices
}

// hops gives the addresses for a domain in the order to try them. An error is a
// reply.
func (r *Relay) hops(ctx context.Context, domain string) ([]hop, error) {
	if addr, ok := r.o.Routes[domain]; ok {
		return []hop{{addr, addr}}, nil
	}
	if r.o.SmartHost.Addr != "" {
		return []hop{{r.o.SmartHost.Addr, r.o.SmartHost.Addr}}, nil
	}
	hosts, err := r.hosts(ctx, domain)
	if err != nil {
		return nil, err
	}
	var (
		list   []hop
		absent = true // every host is known not to exist
	)
	for _, host := range hosts {
		ips, err := r.o.Resolver.LookupNetIP(ctx, "ip", host)
		var dns *net.DNSError
		if err != nil && !(errors.As(err, &dns) && dns.IsNotFound) {
			absent = false
		}
		for _, ip := range ips {
			list = append(list, hop{netip.AddrPortFrom(ip.Unmap(), r.o.Port).String(), host})
		}
	}
	switch {
	case len(list) > 0:
		return list[:min(len(list), 2*maxHosts)], nil
	case absent:
		return nil, errNoDomain
	}
	return nil, errLookup
}
