package imap

import "context"

// enable answers ENABLE (RFC 9051 section 6.3.1). Unknown names are ignored.
func (c *conn) enable(context.Context) error {
	d := c.d
	d.SP()
	names := []string{d.Word()}
	for d.TrySP() {
		names = append(names, d.Word())
	}
	if err := d.End(); err != nil {
		return err
	}
	c.untagged("ENABLED")
	for _, n := range names {
		on := false
		switch n {
		case "IMAP4REV2":
			on, c.rev2, n = !c.rev2, true, "IMAP4rev2"
		case "UTF8=ACCEPT": // RFC 6855 section 3
			on, c.utf8 = !c.utf8, true
		case "CONDSTORE": // RFC 7162 section 3.1
			on, c.condstore = !c.condstore, true
		}
		if on {
			c.e.SP()
			c.e.Raw(n)
		}
	}
	c.e.CRLF()
	c.d.UTF8 = c.rev2 || c.utf8
	c.e.UTF8 = c.d.UTF8
	return nil
}
