package ldap

import "waypost/services/ldap/ber"

// cancelOperation cuts off an operation, which then says so, and answers when
// it has (RFC 3909).
func (o *op) cancelOperation() error {
	d := ber.NewDecoder(o.body)
	s := d.Inside(ber.Sequence)
	id := s.Int()
	d.Close(&s)
	if err := d.Err(); err != nil {
		return refuse(codeProtocolError, "the value of Cancel cannot be read")
	}
	c := o.c
	c.mu.Lock()
	target := c.ops[int32(id)]
	if target == nil || int64(target.id) != id || target == o {
		c.mu.Unlock()
		return refuse(codeNoSuchOperation, "no such operation is under way")
	}
	if target.kind.write || target.kind.alone || target.kind.response == 24 {
		c.mu.Unlock()
		return refuse(codeCannotCancel, "this operation cannot be canceled")
	}
	if target.done == nil {
		target.done = make(chan struct{})
	}
	done := target.done
	target.cancel(errCanceled)
	c.mu.Unlock()
	select {
	case <-done:
	case <-o.ctx.Done():
		return o.ctx.Err()
	}
	if target.code != codeCanceled {
		return refuse(codeTooLate, "the operation was done already")
	}
	return nil
}
