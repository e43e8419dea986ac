package authn

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"waypost/internal/fault"
)

// Params are argon2id's costs (RFC 9106). A hash made with others is replaced
// when its owner signs in.
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultParams take about 75 ms of one processor and 19 MiB while they run.
var DefaultParams = Params{Memory: 19 << 10, Time: 2, Threads: 1}

const (
	saltLen = 16
	tagLen  = 32
	// queued bounds the sign-ins that wait for the pool; more are told to come
	// later, so that an attack fills neither memory nor time.
	queued = 256
)

// lane says whom the pool serves.
type lane int

const (
	// common is for everybody.
	common lane = iota
	// reserved is for addresses that signed in to the account before: one slot
	// is theirs alone, however many strangers try passwords.
	reserved
)

// Hasher computes argon2id in a bounded pool, Slots at once.
type Hasher struct {
	params  Params
	dummy   string
	common  chan struct{}
	own     chan struct{}
	waiting atomic.Int64
	work    atomic.Int64
}

// NewHasher makes a pool with one slot a processor (and a slot reserved for
// known addresses besides). The zero Params mean DefaultParams.
func NewHasher(p Params) *Hasher {
	if p == (Params{}) {
		p = DefaultParams
	}
	h := &Hasher{params: p, common: make(chan struct{}, max(1, runtime.GOMAXPROCS(0))), own: make(chan struct{}, 1)}
	// What an unknown user's password is compared with: nobody's.
	var salt [saltLen]byte
	var tag [tagLen]byte
	_, _ = rand.Read(salt[:])
	_, _ = rand.Read(tag[:])
	h.dummy = phc{p, salt[:], tag[:]}.String()
	return h
}

// Work counts the hashes computed so far.
func (h *Hasher) Work() int64 { return h.work.Load() }

// enter takes a slot of the lane.
func (h *Hasher) enter(ctx context.Context, l lane) (leave func(), err error) {
	if h.waiting.Add(1) > queued && l == common {
		h.waiting.Add(-1)
		return nil, fault.New(fault.Limit, "too many sign-ins at once, try again later")
	}
	defer h.waiting.Add(-1)
	own := h.own
	if l == common {
		own = nil
	}
	select {
	case h.common <- struct{}{}:
		return func() { <-h.common }, nil
	case own <- struct{}{}:
		return func() { <-h.own }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Hash gives the stored form of a password. With like, the stored form of the
// account's password before, its salt is kept when it has the same costs: one
// computation then tells a wrong password from a former one (see verify). Salts
// stay unique to an account.
func (h *Hasher) Hash(ctx context.Context, password, like string) (string, error) {
	p := phc{Params: h.params, salt: make([]byte, saltLen)}
	if old, err := parsePHC(like); err == nil && old.Params == h.params && len(old.salt) == saltLen {
		p.salt = old.salt
	} else if _, err := rand.Read(p.salt); err != nil {
		return "", err
	}
	leave, err := h.enter(ctx, common)
	if err != nil {
		return "", err
	}
	defer leave()
	p.tag = h.compute(password, p)
	return p.String(), nil
}

func (h *Hasher) compute(password string, p phc) []byte {
	h.work.Add(1)
	return argon2.IDKey([]byte(password), p.salt, p.Time, p.Memory, p.Threads, tagLen)
}

// verdict is what a password turned out to be.
type verdict int

const (
	wrong verdict = iota
	right
	former // one of the last two before
)

// verify computes one hash, whatever the outcome, and tells what the password
// is. Without a hash it works on one that nobody has. Former hashes count only
// where they share salt and costs with the present one.
func (h *Hasher) verify(ctx context.Context, l lane, password, hash string, before []string) (verdict, error) {
	nobody := hash == ""
	if nobody {
		hash = h.dummy
	}
	p, err := parsePHC(hash)
	if err != nil {
		return wrong, err
	}
	leave, err := h.enter(ctx, l)
	if err != nil {
		return wrong, err
	}
	defer leave()
	tag := h.compute(password, p)
	v := wrong
	for _, b := range before {
		if old, err := parsePHC(b); err == nil && old.Params == p.Params &&
			subtle.ConstantTimeCompare(old.salt, p.salt) == 1 && subtle.ConstantTimeCompare(old.tag, tag) == 1 {
			v = former
		}
	}
	if subtle.ConstantTimeCompare(tag, p.tag) == 1 && !nobody {
		v = right
	}
	return v, nil
}

// amongSalts bounds the computations of Among. Passwords of an account share
// their salt, so that one is enough until the costs change.
const amongSalts = 4

// Among tells whether a password is the one of any of these hashes of one
// account. It looks at those of the newest four pairs of salt and costs.
func (h *Hasher) Among(ctx context.Context, password string, hashes []string) (bool, error) {
	var groups []phc
	found := false
	for _, hash := range hashes {
		p, err := parsePHC(hash)
		if err != nil {
			continue // nobody's, or damaged: nothing equals it
		}
		i := slices.IndexFunc(groups, func(g phc) bool { return g.Params == p.Params && bytes.Equal(g.salt, p.salt) })
		if i < 0 {
			if len(groups) == amongSalts {
				continue
			}
			g := p
			leave, err := h.enter(ctx, common)
			if err != nil {
				return false, err
			}
			g.tag = h.compute(password, p)
			leave()
			groups, i = append(groups, g), len(groups)
		}
		if subtle.ConstantTimeCompare(groups[i].tag, p.tag) == 1 {
			found = true
		}
	}
	return found, nil
}

// outdated tells whether a hash was made with other costs than today's.
func (h *Hasher) outdated(hash string) bool {
	p, err := parsePHC(hash)
	return err == nil && p.Params != h.params
}

// phc is a hash in the PHC string format:
// $argon2id$v=19$m=19456,t=2,p=1$salt$tag, base64 without padding.
type phc struct {
	Params
	salt, tag []byte
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads, b64(p.salt), b64(p.tag))
}

var errHash = errors.New("not an argon2id hash in PHC form")

// parsePHC reads a hash; its costs are bounded, so that a damaged row cannot
// take the machine's memory.
func parsePHC(s string) (p phc, err error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return p, errHash
	}
	var m, t, n uint64
	for _, kv := range strings.Split(f[3], ",") {
		name, value, _ := strings.Cut(kv, "=")
		into := map[string]*uint64{"m": &m, "t": &t, "p": &n}[name]
		if into == nil {
			return p, errHash
		}
		if *into, err = strconv.ParseUint(value, 10, 32); err != nil {
			return p, errHash
		}
	}
	if n < 1 || n > 16 || t < 1 || t > 64 || m < 8*n || m > 1<<20 {
		return p, errHash
	}
	p.Params = Params{Memory: uint32(m), Time: uint32(t), Threads: uint8(n)}
	if p.salt, err = base64.RawStdEncoding.DecodeString(f[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return p, errHash
	}
	if p.tag, err = base64.RawStdEncoding.DecodeString(f[5]); err != nil || len(p.tag) != tagLen {
		return p, errHash
	}
	return p, nil
}
