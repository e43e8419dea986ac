package eas

import (
	"context"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Status values of GetItemEstimate (MS-ASCMD 2.2.3.177.8).
const (
	estimateOK         = 1
	estimateBadFolder  = 2
	estimateNotPrimed  = 3
	estimateBadKey     = 4
	maxEstimateFolders = 1000 // MS-ASCMD 3.1.5.10
)

// getItemEstimate answers GetItemEstimate (MS-ASCMD 2.2.1.9): how many items a
// Sync with a key would bring. The key is not used up.
func (s *Server) getItemEstimate(ctx context.Context, r *request) error {
	n, err := r.tree(nil)
	if err != nil {
		return err
	}
	list := n.Child(wbxml.GetItemEstimateCollections)
	if list == nil || len(list.Children) > maxEstimateFolders {
		return status(StatusInvalidXML)
	}
	answer := wbxml.New(wbxml.GetItemEstimateGetItemEstimate)
	for c := range list.All(wbxml.GetItemEstimateCollection) {
		id := c.Get(wbxml.GetItemEstimateCollectionId)
		if id == "" {
			id = c.Get(wbxml.AirSyncCollectionId)
		}
		st, count, err := s.estimate(ctx, r, c, id)
		if err != nil {
			return err
		}
		coll := wbxml.New(wbxml.GetItemEstimateCollection)
		if class := c.Get(wbxml.GetItemEstimateClass); class != "" && r.before(wbxml.V140) {
			coll.Add(wbxml.NewText(wbxml.GetItemEstimateClass, class))
		}
		coll.Add(wbxml.NewText(wbxml.GetItemEstimateCollectionId, id))
		resp := wbxml.New(wbxml.GetItemEstimateResponse, wbxml.NewInt(wbxml.GetItemEstimateStatus, st))
		if st == estimateOK {
			resp.Add(coll.Add(wbxml.NewInt(wbxml.GetItemEstimateEstimate, count)))
		}
		answer.Add(resp)
	}
	return r.reply(answer)
}

// mailCutoff is from when on the items of a download were received.
func mailCutoff(f *store.Folder, v *view) int64 {
	if f.Class != store.ClassMail {
		return 0 // of all, for what the filter asks is not counted
	}
	return v.cutoff
}

func (s *Server) estimate(ctx context.Context, r *request, c *wbxml.Node, id string) (st, count int, err error) {
	fid, ok := parseFolderID(id)
	if !ok || fid == 0 {
		return estimateBadFolder, 0, nil
	}
	f, err := s.store.Folder(ctx, r.who, r.box(), fid)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			return estimateBadFolder, 0, nil
		}
		return 0, 0, err
	}
	saved, err := s.store.SyncState(ctx, r.who, r.box(), r.client(), collectionScope(fid))
	if err != nil {
		return 0, 0, err
	}
	key, ok := parseSyncKey(c.Get(wbxml.AirSyncSyncKey))
	if !ok {
		return estimateBadKey, 0, nil
	}
	if key == (syncKey{}) {
		return estimateNotPrimed, 0, nil
	}
	v, from, _ := readLedger(fid, saved).find(key)
	if from == originNone {
		return estimateBadKey, 0, nil
	}
	if !knows(&f, r.version) {
		return estimateOK, 0, nil
	}
	if v.opts, err = readOptions(c, v.opts); err != nil {
		return 0, 0, statusFor(StatusInvalidXML, err)
	}
	if r.before(wbxml.V140) && c.Has(wbxml.AirSyncFilterType) {
		n, err := c.Int(wbxml.AirSyncFilterType, int(v.opts.filter))
		if err != nil || n < 0 || n > 8 {
			return 0, 0, status(StatusInvalidXML)
		}
		v.opts.filter = uint8(n)
	}
	if v.opts.filter > 8 {
		return 0, 0, status(StatusInvalidXML)
	}
	p := &planner{
		mail: s.store, objects: s.store, as: r.who, box: r.box(), folder: f, version: r.version, now: s.opt.Now(),
		window: maxWindow, budget: maxAnswer, estimate: true,
	}
	pl, err := p.run(ctx, v)
	if err != nil {
		if fault.Of(err) == fault.Resync {
			return estimateBadKey, 0, nil
		}
		return 0, 0, err
	}
	count = pl.live
	if load := pl.view.load; load != nil {
		all, err := s.store.CountSince(ctx, r.who, r.box(), fid, cutoffTime(mailCutoff(&f, &pl.view)))
		if err != nil {
			return 0, 0, err
		}
		count += max(all-int(load.sent), 0)
	}
	return estimateOK, count, nil
}
