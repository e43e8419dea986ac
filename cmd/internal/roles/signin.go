package roles

import (
	"net"
	"strings"

	"waypost/services/signin"
)

// signIn makes the pages of sign-in; https is the door that browsers come to, nil
// when a proxy has it.
func (p *Program) signIn(https net.Listener) (*signin.Server, error) {
	c := p.Config.SignIn
	o := signin.Options{Site: strings.TrimSuffix(c.URL, "/"), Hosts: c.Hosts, Log: p.Log, ClientAddr: clientAddr, Secure: secure}
	if o.Site == "" {
		o.Site = "https://" + p.Config.Hostname
		if https != nil {
			_, port, err := net.SplitHostPort(https.Addr().String())
			if err == nil && port != "443" && loopback(https.Addr().String()) {
				// As in the demonstration: nobody else reaches it.
				o.Site = "https://localhost:" + port
			}
		}
	}
	if https != nil && loopback(https.Addr().String()) {
		o.Hosts = append(o.Hosts, "localhost", "127.0.0.1", "::1")
	}
	if i := p.Config.OIDC; i.Issuer != "" {
		o.Outside = &signin.Outside{Name: i.Name, Issuer: i.Issuer, Client: i.Client, Secret: i.Secret, ByAddress: i.ByAddress}
	}
	return signin.New(p.dir, p.gate, o)
}
