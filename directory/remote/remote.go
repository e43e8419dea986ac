// Package remote is the directory over the network: a client and a server for
// the methods of directory.Directory, HTTP/2 with JSON bodies.
//
// Its law:
//
//   - POST /directory/v1/METHOD, one JSON object in, one out. A fault keeps its
//     kind and its texts. Follow answers with a stream of lines.
//   - A peer is a process of the product, known by its TLS certificate, and is
//     trusted as the role that it is: it tells who acts, and the directory
//     checks that principal's rights against what it knows itself. What a role
//     may call at all is Rights: the transport, which the Internet talks to, can
//     look up and sign in, and change nothing whoever it says it acts for. Only
//     a peer with Own may change anything as the product itself.
//   - Without TLS it serves loopback only; everybody on that machine is a peer.
//   - Bodies are bounded both ways. Reads are repeated at the next server when
//     one is lost; changes only when they cannot have been carried out.
//   - The client keeps answers of Resolve while it hears the feed and never
//     longer than that. It keeps no answer that is older than the news it had.
package remote

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	prefix = "/directory/v1/"
	// usnHeader tells how new the view was that an answer came from.
	usnHeader = "Waypost-Usn"
	// clientHeader tells from where the change comes that a peer makes for
	// somebody, for the audit log.
	clientHeader = "Waypost-Client"
	maxClient    = 64
	// maxRequest and maxReply bound bodies, in bytes.
	maxRequest = 4 << 20
	maxReply   = 64 << 20
	// maxLine bounds one line of the feed; the server puts at most perLine
	// changes into it.
	maxLine = 1 << 20
	perLine = 2000
)

// status is the HTTP code of each kind of fault, for people who look with curl;
// the body says the same exactly.
var status = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Exists:          http.StatusConflict,
	fault.Conflict:        http.StatusPreconditionFailed,
	fault.OverQuota:       http.StatusInsufficientStorage,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Limit:           http.StatusTooManyRequests,
	fault.Resync:          http.StatusGone,
	fault.Unavailable:     http.StatusServiceUnavailable,
}

// kinds finds a kind by its name.
var kinds = func() map[string]fault.Kind {
	m := make(map[string]fault.Kind)
	for _, k := range fault.Kinds() {
		m[k.String()] = k
	}
	return m
}()

// wireFault is a fault on its way.
type wireFault struct {
	Kind string `json:"kind"`
	Say  string `json:"say,omitempty"`
	Log  string `json:"log,omitempty"` // for the peer's log, not for its own peer
	// Why is a sign-in's problem, of directory.SignInProblem.
	Why string `json:"why,omitempty"`
	// Grant is the code of directory.GrantProblem.
	Grant string `json:"grant,omitempty"`
}

// problems finds a sign-in's problem by its name.
var problems = func() map[string]directory.Problem {
	m := make(map[string]directory.Problem)
	for _, p := range directory.Problems() {
		m[p.String()] = p
	}
	return m
}()

func toWire(err error) *wireFault {
	f := &wireFault{Kind: fault.Of(err).String(), Log: err.Error()}
	var own *fault.Error
	if errors.As(err, &own) {
		f.Say = own.Say
	}
	var p *directory.SignInProblem
	if errors.As(err, &p) {
		f.Why = p.Why.String()
	}
	var g *directory.GrantProblem
	if errors.As(err, &g) {
		f.Grant, f.Say = g.Code, g.Say
	}
	return f
}

func (f *wireFault) error() error {
	if p, ok := problems[f.Why]; ok {
		return &directory.SignInProblem{Why: p}
	}
	if f.Grant != "" {
		return &directory.GrantProblem{Code: f.Grant, Say: f.Say}
	}
	k, ok := kinds[f.Kind]
	if !ok {
		k = fault.Internal
	}
	e := &fault.Error{Kind: k, Say: f.Say}
	if f.Log != f.Say && f.Log != "" {
		e.Err = errors.New(f.Log)
	}
	return e
}

// reply is the body of every answer: a result or a fault.
type reply struct {
	Result json.RawMessage `json:"result,omitempty"`
	Fault  *wireFault      `json:"fault,omitempty"`
}

// line is one line of the feed.
type line struct {
	Changes []directory.Change `json:"changes,omitempty"`
	Fault   *wireFault         `json:"fault,omitempty"`
}

// The arguments and results of the methods, by the names in the interface.
type (
	idArgs struct {
		As directory.Principal
		ID directory.ObjectID
	}
	addressArgs struct {
		As      directory.Principal
		Address string
	}
	pageArgs struct {
		As   directory.Principal
		ID   directory.ObjectID
		Page directory.Page
	}
	peopleArgs struct {
		As    directory.Principal
		Query directory.PeopleQuery
	}
	people struct {
		Hits  []directory.User
		Total int
	}
	sendToArgs struct {
		From  directory.Sender
		Group directory.ObjectID
	}
	followArgs struct{ Since directory.USN }
	nameArgs   struct {
		As            directory.Principal
		Address, Name string
	}
	// Logins and passwords are any bytes; JSON's text is not.
	signInArgs struct {
		Login, Password []byte
		From            netip.Addr
		Door            string
		Factor          string `json:",omitempty"`
	}
	renewArgs struct {
		Credentials signInArgs
		Password    []byte
	}
	addUserArgs struct {
		As       directory.Principal
		User     directory.User
		Password []byte
	}
	// updateArgs replaces a user, if it is still as it was at Was.
	updateArgs struct {
		As   directory.Principal
		ID   directory.ObjectID
		Was  directory.USN
		User directory.User
	}
	passwordArgs struct {
		As       directory.Principal
		ID       directory.ObjectID
		Password []byte
	}
	enabledArgs struct {
		As      directory.Principal
		ID      directory.ObjectID
		Enabled bool
	}
	renameArgs struct {
		As      directory.Principal
		ID      directory.ObjectID
		Address string
	}
	membersArgs struct {
		As          directory.Principal
		ID          directory.ObjectID
		Add, Remove []string
	}
	nothing struct{}
)
