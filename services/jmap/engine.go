package jmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"waypost/internal/fault"
	"waypost/store"
)

// problem is an error of a request as a whole (RFC 8620 section 3.6.1, RFC 7807).
type problem struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Limit  string `json:"limit,omitempty"`
}

func (p *problem) Error() string { return p.Type + " " + p.Detail }

const errorURN = "urn:ietf:params:jmap:error:"

func limitProblem(name string) *problem {
	return &problem{Type: errorURN + "limit", Status: 400, Limit: name, Detail: "the request goes beyond the limit " + name}
}

// methodError is an error of one method call (section 3.6.2).
type methodError struct {
	kind string
	text string
}

func (e *methodError) Error() string { return e.kind + ": " + e.text }

func methodFault(kind, format string, args ...any) error {
	return &methodError{kind, fmt.Sprintf(format, args...)}
}

func invalidArguments(format string, args ...any) error {
	return methodFault("invalidArguments", format, args...)
}

// request is one request's way through its method calls.
type request struct {
	*door
	using   map[string]bool
	created map[string]string // creation ids, over all types
	answers []answer
	size    int
}

// answer is a response of a method.
type answer struct {
	name, id string
	args     json.RawMessage
	tree     any // args, decoded when something refers to them
}

// call is one method call.
type call struct {
	*request
	name, id string
	args     object
	account  string
	box      store.MailboxID
	creating string // the creation id of the record that is being made
}

// process runs a Request and gives the Response (sections 3.3 and 3.4).
func (d *door) process(ctx context.Context, body []byte) ([]byte, error) {
	doc, err := decodeJSON(body)
	if err != nil {
		return nil, &problem{Type: errorURN + "notJSON", Status: 400, Detail: err.Error()}
	}
	r := &request{door: d, using: map[string]bool{}, created: map[string]string{}}
	calls, given, err := r.read(doc)
	if err != nil {
		return nil, err
	}
	for _, c := range calls {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.run(ctx, c); err != nil {
			r.refuse(ctx, c, err)
		}
	}
	responses := make([]any, 0, len(r.answers))
	for _, a := range r.answers {
		responses = append(responses, []any{a.name, a.args, a.id})
	}
	out := object{"methodResponses": responses, "sessionState": d.sessionState()}
	if given {
		out["createdIds"] = r.created
	}
	return encodeJSON(out)
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// read checks that a document is a Request.
func (r *request) read(doc any) (calls []*call, given bool, err error) {
	bad := func(format string, args ...any) ([]*call, bool, error) {
		return nil, false, &problem{Type: errorURN + "notRequest", Status: 400, Detail: fmt.Sprintf(format, args...)}
	}
	o, ok := doc.(object)
	if !ok {
		return bad("a Request is an object")
	}
	using, ok := o["using"].([]any)
	if !ok {
		return bad("using is a list of capabilities")
	}
	list, ok := o["methodCalls"].([]any)
	if !ok {
		return bad("methodCalls is a list")
	}
	for _, u := range using {
		name, ok := u.(string)
		if !ok {
			return bad("using is a list of capabilities")
		}
		r.using[name] = true
	}
	if ids, ok := o["createdIds"]; ok && ids != nil {
		m, ok := ids.(object)
		if !ok {
			return bad("createdIds is a map of ids")
		}
		for k, v := range m {
			id, ok := v.(string)
			if !ok || !isID(id) || !isID(k) {
				return bad("createdIds is a map of ids")
			}
			r.created[k] = id
		}
		given = true
	}
	for _, v := range list {
		t, ok := v.([]any)
		if !ok || len(t) != 3 {
			return bad("a method call is a list of three")
		}
		name, ok1 := t[0].(string)
		args, ok2 := t[1].(object)
		id, ok3 := t[2].(string)
		if !ok1 || !ok2 || !ok3 {
			return bad("a method call is a name, an object and an id")
		}
		calls = append(calls, &call{request: r, name: name, id: id, args: args})
	}
	for name := range r.using {
		if !slices.ContainsFunc(capabilities, func(c capability) bool { return c.name == name }) {
			return nil, false, &problem{Type: errorURN + "unknownCapability", Status: 400, Detail: fmt.Sprintf("there is no capability %q here", name)}
		}
	}
	if len(calls) > maxCallsInRequest {
		return nil, false, limitProblem("maxCallsInRequest")
	}
	return calls, given, nil
}

// run executes one method call.
func (r *request) run(ctx context.Context, c *call) error {
	m, ok := methods[c.name]
	if !ok || !r.using[m.capability] {
		return methodFault("unknownMethod", "")
	}
	if err := r.resolve(c); err != nil {
		return err
	}
	if m.free {
		return m.run(ctx, c)
	}
	account, ok := c.args["accountId"].(string)
	if !ok {
		return invalidArguments("accountId is an id")
	}
	if c.box, ok = r.mailbox(account); !ok {
		return methodFault("accountNotFound", "")
	}
	c.account = account
	for name := range c.args {
		if !slices.Contains(m.args, name) && name != "accountId" {
			return invalidArguments("%s has no argument %q", c.name, name)
		}
	}
	return m.run(ctx, c)
}

// respond adds a response.
func (c *call) respond(name string, args any) error {
	data, err := encodeJSON(args)
	if err != nil {
		return err
	}
	if c.size += len(data); c.size > maxResponse {
		return methodFault("requestTooLarge", "the answers to this request would be too large")
	}
	c.answers = append(c.answers, answer{name: name, id: c.id, args: data})
	return nil
}

// kinds has the type of method error of every kind of fault.
var kinds = map[fault.Kind]string{
	fault.Internal:        "serverFail",
	fault.Invalid:         "invalidArguments",
	fault.Unauthenticated: "forbidden",
	fault.Denied:          "forbidden",
	fault.NotFound:        "serverFail", // what may be missing is told by each method
	fault.Exists:          "serverFail",
	fault.Conflict:        "serverUnavailable",
	fault.OverQuota:       "serverFail",
	fault.TooLarge:        "requestTooLarge",
	fault.Limit:           "requestTooLarge",
	fault.Resync:          "cannotCalculateChanges",
	fault.Unavailable:     "serverUnavailable",
}

// refuse answers a call with an error.
func (r *request) refuse(ctx context.Context, c *call, err error) {
	var m *methodError
	if !errors.As(err, &m) {
		kind := fault.Of(err)
		m = &methodError{kinds[kind], fault.Say(err)}
		if kinds[kind] == "serverFail" {
			r.log.ErrorContext(ctx, "method failed", "cmd", c.name, "user", r.who.Address, "fault", kind, "err", err)
		}
	}
	args := object{"type": m.kind}
	if m.text != "" {
		args["description"] = m.text
	}
	data, _ := encodeJSON(args)
	r.answers = append(r.answers, answer{name: "error", id: c.id, args: data})
}

// resolve replaces references to earlier results by what they refer to (section 3.7).
func (r *request) resolve(c *call) error {
	for name := range c.args {
		if !strings.HasPrefix(name, "#") {
			continue
		}
		if _, both := c.args[name[1:]]; both {
			return invalidArguments("%s is given twice", name[1:])
		}
	}
	args := maps.Clone(c.args)
	for name, ref := range c.args {
		if !strings.HasPrefix(name, "#") {
			continue
		}
		v, err := r.refer(ref)
		if err != nil {
			return methodFault("invalidResultReference", "%s: %v", name, err)
		}
		delete(args, name)
		args[name[1:]] = v
	}
	c.args = args
	budget := maxSizeRequest
	if !fits(args, &budget) {
		return methodFault("requestTooLarge", "the arguments are too large")
	}
	return nil
}

// fits tells whether a value is no larger than about budget bytes, at a cost that
// does not grow beyond it: references may name the same large result many times.
func fits(v any, budget *int) bool {
	if *budget -= 2; *budget < 0 {
		return false
	}
	switch v := v.(type) {
	case string:
		*budget -= len(v)
	case []any:
		for _, e := range v {
			if !fits(e, budget) {
				return false
			}
		}
	case object:
		for k, e := range v {
			*budget -= len(k) + 4
			if !fits(e, budget) {
				return false
			}
		}
	}
	return *budget >= 0
}

func (r *request) refer(ref any) (any, error) {
	o, _ := ref.(object)
	of, ok1 := o["resultOf"].(string)
	name, ok2 := o["name"].(string)
	path, ok3 := o["path"].(string)
	if !ok1 || !ok2 || !ok3 || len(o) != 3 {
		return nil, errors.New("that is no reference")
	}
	for i := range r.answers {
		a := &r.answers[i]
		if a.id != of {
			continue
		}
		if a.name != name {
			return nil, errors.New("the result has another name")
		}
		if a.tree == nil {
			var err error
			if a.tree, err = decodeJSON(a.args); err != nil {
				return nil, err
			}
		}
		tokens, err := pointer(path)
		if err != nil {
			return nil, err
		}
		budget := maxValues
		return follow(a.tree, tokens, &budget)
	}
	return nil, errors.New("there is no such result")
}

// pointer divides a JSON pointer (RFC 6901 section 3).
func pointer(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' {
		return nil, errors.New("a path begins with /")
	}
	tokens := strings.Split(path[1:], "/")
	if len(tokens) > maxDepth {
		return nil, errors.New("the path is too long")
	}
	for i, t := range tokens {
		unescaped, err := unescape(t)
		if err != nil {
			return nil, err
		}
		tokens[i] = unescaped
	}
	return tokens, nil
}

// unescape undoes ~0 and ~1; another ~ is a fault.
func unescape(t string) (string, error) {
	for i := range len(t) {
		if t[i] == '~' && (i+1 == len(t) || t[i+1] != '0' && t[i+1] != '1') {
			return "", errors.New("~ without 0 or 1")
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~"), nil
}

// follow evaluates a pointer with * for every item of an array.
func follow(v any, tokens []string, budget *int) (any, error) {
	if *budget--; *budget < 0 {
		return nil, errors.New("the result is too large")
	}
	if len(tokens) == 0 {
		return v, nil
	}
	t, rest := tokens[0], tokens[1:]
	switch v := v.(type) {
	case object:
		e, ok := v[t]
		if !ok {
			return nil, fmt.Errorf("there is no %q", t)
		}
		return follow(e, rest, budget)
	case []any:
		if t == "*" {
			all := []any{}
			for _, e := range v {
				got, err := follow(e, rest, budget)
				if err != nil {
					return nil, err
				}
				if list, ok := got.([]any); ok {
					if *budget -= len(list); *budget < 0 {
						return nil, errors.New("the result is too large")
					}
					all = append(all, list...)
				} else {
					all = append(all, got)
				}
			}
			return all, nil
		}
		n, err := strconv.Atoi(t)
		if err != nil || n < 0 || n >= len(v) || strconv.Itoa(n) != t {
			return nil, fmt.Errorf("there is no item %q", t)
		}
		return follow(v[n], rest, budget)
	}
	return nil, fmt.Errorf("there is no %q", t)
}

// isID tells whether s may be an id (RFC 8620 section 1.2).
func isID(s string) bool {
	if len(s) < 1 || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
