package eas

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// requestScope is where a phone's last full Sync is kept.
const requestScope = "sync"

func itoa[T ~int | ~uint8](n T) string { return strconv.Itoa(int(n)) }

func statusOf(err error) (int, bool) {
	s, ok := errors.AsType[statusError](err)
	return s.status, ok
}

// sync answers Sync (MS-ASCMD 2.2.1.21).
func (s *Server) sync(ctx context.Context, r *request) error {
	spools := &spooler{}
	defer spools.close()
	doc, err := r.tree(spools.sink)
	if err != nil {
		return err
	}
	q, err := s.syncRequest(ctx, r, doc)
	if err == nil {
		err = s.answerSync(ctx, r, q)
	}
	if refusal, ok := errors.AsType[syncRefusal](err); ok {
		return r.refuseSync(refusal)
	}
	return err
}

// syncRequest reads the request, with the help of the one before.
func (s *Server) syncRequest(ctx context.Context, r *request, doc *wbxml.Node) (*syncRequest, error) {
	if doc == nil && r.before(wbxml.V121) {
		return nil, status(StatusInvalidContent)
	}
	var q *syncRequest
	if doc != nil {
		var err error
		if q, err = s.readSync(doc, r.version); err != nil {
			return nil, err
		}
	}
	if r.before(wbxml.V121) || r.transient() {
		return q, nil
	}
	st, err := s.store.SyncState(ctx, r.who, r.box(), r.client(), requestScope)
	if err != nil {
		return nil, err
	}
	was, ok := decodeRequest(st.Data)
	switch {
	case q == nil && !ok, q != nil && q.partial && !ok:
		return nil, refuseSync(syncNoCache)
	case q == nil:
		return was, nil
	case q.partial:
		q.complete(was)
		if len(q.collections) > s.opt.MaxFolders {
			return nil, syncRefusal{syncTooMany, s.opt.MaxFolders}
		}
	}
	data := q.encode()
	if len(data) > maxCachedReq || slices.Equal(data, st.Data) {
		return q, nil
	}
	err = s.store.SaveSyncState(ctx, r.who, r.box(), r.client(), requestScope, st.Generation, data, st.Generation != 0)
	if err != nil && fault.Of(err) != fault.Conflict { // at a conflict another request was the last
		return nil, err
	}
	return q, nil
}

func (r *request) refuseSync(e syncRefusal) error {
	r.done(itoa(e.status))
	n := wbxml.New(wbxml.AirSyncSync, wbxml.NewInt(wbxml.AirSyncStatus, e.status))
	if e.limit != 0 {
		n.Add(wbxml.NewInt(wbxml.AirSyncLimit, e.limit))
	}
	return r.reply(n)
}

// answerSync processes the collections, waits if the phone wants that and
// there is nothing to say, and answers.
func (s *Server) answerSync(ctx context.Context, r *request, q *syncRequest) error {
	s.supersede(r)
	y := &syncer{server: s, r: r, q: q, who: who{r.who, r.box()}, seen: map[string]store.Seq{}}
	answers, err := y.round(ctx, true)
	if err != nil {
		return err
	}
	w := &syncWait{y: y, answers: answers}
	if q.hold > 0 && !anyVisible(answers) {
		return s.park(ctx, r, q.hold, w)
	}
	return w.answer(ctx)
}

// syncWait is what a held Sync keeps.
type syncWait struct {
	y       *syncer
	answers []*collectionAnswer
	refusal *syncRefusal
}

// ready looks at the collections again. What ends the wait with a Status of the
// whole Sync, as a folder that is gone, is an answer like others.
func (w *syncWait) ready(ctx context.Context) (bool, error) {
	found, err := w.y.round(ctx, false)
	if refusal, ok := errors.AsType[syncRefusal](err); ok {
		w.refusal = &refusal
		return true, nil
	}
	if err != nil || !anyVisible(found) {
		return false, err
	}
	w.answers = found
	return true, nil
}

// answer writes the answer.
func (w *syncWait) answer(ctx context.Context) error {
	r := w.y.r
	switch {
	case w.refusal != nil:
		return r.refuseSync(*w.refusal)
	case !anyVisible(w.answers) && !r.before(wbxml.V121):
		return r.replyEmpty() // MS-ASCMD 2.2.1.21: nothing to report
	}
	return r.stream(func(e *wbxml.Encoder) error { return w.y.write(ctx, e, w.answers) })
}

// supersede ends the Sync of the same phone that is held.
func (s *Server) supersede(r *request) {
	key := heldKey{r.box(), r.device.ID, r.cmd}
	if mine, err := s.held.enter(key, s.opt.MaxHeld); err == nil {
		s.held.leave(key, mine)
	}
}

func anyVisible(answers []*collectionAnswer) bool {
	return slices.ContainsFunc(answers, func(a *collectionAnswer) bool { return a.visible })
}

// collectionAnswer is the answer for one collection.
type collectionAnswer struct {
	c       *syncCollection
	folder  store.Folder
	status  int
	key     string
	visible bool // there is something to say
	more    bool
	replies []reply
	ops     []op
	opts    options
	fetched map[store.ItemID]*fetchedItem
}

// syncer is one Sync at work.
type syncer struct {
	server *Server
	r      *request
	q      *syncRequest
	who    who
	seen   map[string]store.Seq // each folder's newest change at the last look
}

// locks are mutexes by name, each existing while it is used. They let only one
// request of a phone work on its collections at a time; between processes the
// store's compare-and-swap does.
type locks struct {
	mu sync.Mutex
	m  map[string]*lock
}

type lock struct {
	ch    chan struct{}
	users int
}

// take waits for the mutex of a name and gives its release.
func (l *locks) take(ctx context.Context, name string) (release func(), err error) {
	l.mu.Lock()
	if l.m == nil {
		l.m = map[string]*lock{}
	}
	k := l.m[name]
	if k == nil {
		k = &lock{ch: make(chan struct{}, 1)}
		l.m[name] = k
	}
	k.users++
	l.mu.Unlock()
	drop := func() {
		l.mu.Lock()
		if k.users--; k.users == 0 {
			delete(l.m, name)
		}
		l.mu.Unlock()
	}
	select {
	case k.ch <- struct{}{}:
		return func() { <-k.ch; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, ctx.Err()
	}
}

// phone names the mailbox and the phone of a request.
func (r *request) phone() string {
	return strconv.FormatInt(int64(r.box()), 10) + "/" + r.device.ID
}

// round looks at every collection once. Only the first round carries out
// commands; later ones look only where something changed.
func (y *syncer) round(ctx context.Context, first bool) ([]*collectionAnswer, error) {
	release, err := y.server.locks.take(ctx, y.r.phone())
	if err != nil {
		return nil, err
	}
	defer release()
	folders, err := y.folders(ctx)
	if err != nil {
		return nil, err
	}
	room, budget := maxWindow*len(y.q.collections), int64(maxAnswer)
	if y.q.window > 0 {
		room = y.q.window
	}
	var answers []*collectionAnswer
	for i := range y.q.collections {
		c := &y.q.collections[i]
		f := folders[c.id]
		if !first && f.HighestSeq == y.seen[c.id] {
			continue
		}
		y.seen[c.id] = f.HighestSeq
		a, bytes, err := y.collection(ctx, c, f, min(c.window, room), budget)
		if err != nil {
			if k := fault.Of(err); len(y.q.collections) == 1 || k == fault.Invalid || ctx.Err() != nil {
				return nil, err
			}
			y.r.log.Error("sync of a collection", "user", y.r.who.Address, "collection", c.id, "err", err)
			a = &collectionAnswer{c: c, status: syncServer, key: c.key, visible: true}
		}
		answers = append(answers, a)
		room -= min(len(a.ops), room)
		budget = max(budget-bytes, 0)
	}
	return answers, nil
}

// folders reads the folders of all collections at once. An unknown one means
// that the phone's picture of the tree is old (Status 12).
func (y *syncer) folders(ctx context.Context) (map[string]store.Folder, error) {
	byID := make(map[string]store.Folder, len(y.q.collections))
	if len(y.q.collections) == 1 {
		id := y.q.collections[0].id
		n, ok := parseFolderID(id)
		if !ok || n == 0 {
			return nil, refuseSync(syncFoldersChanged)
		}
		f, err := y.server.store.Folder(ctx, y.who.as, y.who.box, n)
		switch {
		case fault.Of(err) == fault.NotFound && err != nil:
			return nil, refuseSync(syncFoldersChanged)
		case err != nil:
			return nil, err
		}
		byID[id] = f
		return byID, nil
	}
	if len(y.q.collections) == 0 {
		return byID, nil
	}
	all, _, err := y.server.store.Folders(ctx, y.who.as, y.who.box)
	if err != nil {
		return nil, err
	}
	known := make(map[string]store.Folder, len(all))
	for _, f := range all {
		known[folderServerID(f.ID)] = f
	}
	for _, c := range y.q.collections {
		f, ok := known[c.id]
		if !ok {
			return nil, refuseSync(syncFoldersChanged)
		}
		byID[c.id] = f
	}
	return byID, nil
}

// maxTries is how often a collection is begun anew when another request of the
// same phone changed its state meanwhile.
const maxTries = 4

// collection answers for one collection, and saves its state. bytes is the
// estimated size of its items.
func (y *syncer) collection(ctx context.Context, c *syncCollection, f store.Folder, room int, budget int64) (a *collectionAnswer, bytes int64, err error) {
	var prior []result
	for range maxTries {
		a, bytes, err = y.try(ctx, c, f, room, budget, &prior)
		if err == nil || fault.Of(err) != fault.Conflict {
			break
		}
	}
	if fault.Of(err) == fault.Resync && err != nil {
		// The journal does not reach back to the phone's state.
		return &collectionAnswer{c: c, status: syncBadKey, key: "0", visible: true}, 0, nil
	}
	return a, bytes, err
}

func (y *syncer) try(ctx context.Context, c *syncCollection, f store.Folder, room int, budget int64, prior *[]result) (*collectionAnswer, int64, error) {
	st, err := y.server.store.SyncState(ctx, y.who.as, y.who.box, y.r.client(), collectionScope(f.ID))
	if err != nil {
		return nil, 0, err
	}
	l := readLedger(f.ID, st)
	key, ok := parseSyncKey(c.key)
	if c.key == "" {
		key, ok = l.keyOfLastRequest()
	}
	if ok && key == (syncKey{}) && c.key != "" {
		return y.begin(ctx, c, l)
	}
	v, from, fresh := l.find(key)
	if !ok || from == originNone {
		return &collectionAnswer{c: c, status: syncBadKey, key: "0", visible: true}, 0, nil
	}
	opts := c.optionsFor(v.opts)
	renewed := !opts.equal(v.opts)
	v.opts = opts
	if v.opts.filter == 8 && f.Class == store.ClassMail {
		return &collectionAnswer{c: c, status: syncProtocol, key: c.key, visible: true}, 0, nil
	}
	a := &collectionAnswer{c: c, folder: f, status: syncOK, key: key.String(), opts: v.opts}
	x := &executor{
		mail: y.server.store, who: y.who, folder: f, version: y.r.version, now: y.server.opt.Now(),
		asMoves: c.asMoves, chain: key.chain, client: y.r.client(), view: v, prior: *prior,
		compose: y.server.composer(y.r),
		objects: y.server.store, meetings: y.server.opt.Meetings, class: served[f.Class].items,
	}
	if x.class != nil && len(c.commands) > 0 {
		byItem(c.commands)
		if x.side, err = y.side(ctx, &f, &v.opts); err != nil {
			return nil, 0, err
		}
	}
	if from == originReplay {
		x.done = recordOf(l.newest.results)
	}
	for _, r := range *prior {
		if r.echo.seq != 0 {
			x.view.echoes = mergeEchoes(x.view.echoes, []echo{r.echo})
		}
	}
	if len(c.commands) > 0 {
		if !knows(&f, y.r.version) {
			a.replies = refuseCommands(c.commands)
		} else if a.replies, err = x.run(ctx, c.commands); err != nil {
			return nil, 0, err
		}
		*prior = x.results
		a.visible = true
	}
	v = x.view
	bytes := int64(0)
	if !knows(&f, y.r.version) {
		v.started, v.pos = true, store.After(f.HighestSeq)
	} else if c.getChanges {
		p := &planner{
			mail: y.server.store, objects: y.server.store, as: y.who.as, box: y.who.box, folder: f, version: y.r.version,
			now: x.now, window: room, budget: budget,
		}
		pl, err := p.run(ctx, v)
		if err != nil {
			return nil, 0, err
		}
		v, a.more, bytes = pl.view, pl.more, pl.bytes
		for _, o := range pl.ops {
			if o.kind != opNone {
				a.ops = append(a.ops, o)
			}
		}
		a.visible = a.visible || len(a.ops) > 0 || a.more
	}
	// New options need a generation to be kept in. One before the newest takes
	// none, nor does a chain whose first key may still be asked for again.
	a.visible = a.visible || renewed && (from == originReplay || fresh)
	if err := y.save(ctx, c, l, from, fresh, key, &v, x.results, a); err != nil {
		return nil, 0, err
	}
	return a, bytes, nil
}

// refuseCommands answers commands on items of a class that is not served.
func refuseCommands(cs []syncCommand) []reply {
	var rs []reply
	for i := range cs {
		st := uint8(syncNotFound)
		if cs[i].kind == commandAdd {
			st = syncConversion
		}
		rs = append(rs, reply{command: &cs[i], status: st})
	}
	return rs
}

// begin answers key 0 (MS-ASCMD 3.1.5.4): a new chain is pending until its
// first key is used; until then the old one stands, because this answer may be
// lost. Asked again, it is the same chain.
func (y *syncer) begin(ctx context.Context, c *syncCollection, l *ledger) (*collectionAnswer, int64, error) {
	g := l.newest
	if g == nil {
		g = &generation{}
	}
	opts := c.optionsFor(defaultOptions())
	opts.ghosts = c.ghosts
	if g.pending == 0 || !g.pendingOpts.equal(opts) || len(g.pendingMoves) > 0 || g.kept {
		if g.pending == 0 {
			g.pending = newChain()
		}
		g.pendingOpts, g.pendingMoves, g.kept = opts, nil, false // the phone holds nothing
		if err := y.put(ctx, c, l, g, l.store != 0); err != nil {
			return nil, 0, err
		}
	}
	key := syncKey{chain: g.pending, gen: 1}
	return &collectionAnswer{c: c, status: syncOK, key: key.String(), visible: true, opts: opts}, 0, nil
}

// save writes what the phone will hold and sets the answer's key. Without
// anything to say the key stays.
func (y *syncer) save(ctx context.Context, c *syncCollection, l *ledger, from origin, fresh bool, key syncKey, v *view, results []result, a *collectionAnswer) error {
	switch {
	case a.visible && from == originReplay:
		g := l.newest
		g.record(results)
		n := g.add(*v)
		a.key = g.key(n).String()
		return y.put(ctx, c, l, g, true)
	case a.visible:
		g := &generation{chain: key.chain, gen: key.gen + 1, results: results}
		if was := l.newest; !fresh && was.pending != 0 && !was.kept {
			g.pending, g.pendingOpts, g.pendingMoves, g.kept = was.pending, was.pendingOpts, was.pendingMoves, true
		}
		n := g.add(*v)
		a.key = g.key(n).String()
		return y.put(ctx, c, l, g, false)
	case from == originReplay || fresh:
		return nil
	}
	// The phone has the newest answer and there is nothing new. The state may
	// still have moved: over changes that do not concern the phone.
	g := l.newest
	was := g.variant(key.variant)
	next := variant{n: key.variant, view: *v}
	if g.confirmed && slices.Equal(encodeView(nil, &was.view), encodeView(nil, v)) {
		return nil
	}
	g.confirmed, g.variants, g.results, g.moves = true, []variant{next}, nil, nil
	if g.kept {
		g.pending, g.pendingOpts, g.pendingMoves, g.kept = 0, options{}, nil, false
	}
	return y.put(ctx, c, l, g, true)
}

func (y *syncer) put(ctx context.Context, c *syncCollection, l *ledger, g *generation, replaceOnly bool) error {
	return y.server.store.SaveSyncState(ctx, y.who.as, y.who.box, y.r.client(), collectionScope(l.folder), l.store, g.encode(), replaceOnly)
}

// keyOfLastRequest is the key that the phone used last in this collection: the
// newest if it has used it, else the one before.
func (l *ledger) keyOfLastRequest() (syncKey, bool) {
	g := l.newest
	switch {
	case g == nil || len(g.variants) == 0:
		return syncKey{}, false
	case g.confirmed:
		return g.key(g.variants[0].n), true
	case l.previous == nil:
		return syncKey{}, false
	case l.previous.pending == g.chain:
		return syncKey{chain: g.chain, gen: 1}, true
	case l.previous.chain == g.chain && len(l.previous.variants) > 0:
		p := l.previous
		return p.key(p.variants[len(p.variants)-1].n), true
	}
	return syncKey{}, false
}
