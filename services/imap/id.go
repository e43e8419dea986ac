package imap

import (
	"context"
	"log/slog"
)

// id answers ID (RFC 2971). What the client says goes to the log and nowhere
// else; the server tells its name only.
func (c *conn) id(ctx context.Context) error {
	d := c.d
	d.SP()
	var said []slog.Attr
	if d.Peek() == '(' {
		n := 0
		d.List(func() {
			key := d.String()
			d.SP()
			value, _ := d.NString()
			if n++; n > 30 || len(key) > 30 || len(value) > 1024 { // section 3.3
				d.Fail("too much in ID")
			}
			said = append(said, slog.String(key, value))
		})
	} else if _, ok := d.NString(); ok {
		d.Fail("expected a list or NIL")
	}
	if err := d.End(); err != nil {
		return err
	}
	if log := c.server.cfg.Log; len(said) > 0 && log.Enabled(ctx, slog.LevelDebug) {
		log.LogAttrs(ctx, slog.LevelDebug, "client", slog.String("proto", "imap"),
			slog.String("user", c.who.Address), slog.Attr{Key: "client", Value: slog.GroupValue(said...)})
	}
	c.untagged("ID (\"name\" \"Waypost\")\r\n")
	return nil
}
