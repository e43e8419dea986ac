package eas

import (
	"context"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// maxPhoto bounds a picture, in bytes (MS-ASCMD 2.2.3.107.1).
const maxPhoto = 102400

// photoTags are the elements of a picture, which have a page of their own in
// each command.
type photoTags struct{ picture, status, data, maxSize, maxPictures wbxml.Tag }

var (
	searchPhotos  = photoTags{wbxml.GalPicture, wbxml.GalStatus, wbxml.GalData, wbxml.SearchMaxSize, wbxml.SearchMaxPictures}
	resolvePhotos = photoTags{
		wbxml.ResolveRecipientsPicture, wbxml.ResolveRecipientsStatus, wbxml.ResolveRecipientsData,
		wbxml.ResolveRecipientsMaxSize, wbxml.ResolveRecipientsMaxPictures,
	}
)

// photos gives pictures for an answer, as many and as large as the phone wants
// (MS-ASCMD 2.2.3.129).
type photos struct {
	tags photoTags
	size int // of one, at most
	left int // how many more
}

// askedPhotos reads what the phone wants, nil for none; an empty element (iOS)
// is everything. ok is false for options that make no sense.
func askedPhotos(tags photoTags, asked *wbxml.Node) (_ *photos, ok bool) {
	if asked == nil {
		return nil, true
	}
	size, err1 := asked.Int(tags.maxSize, maxPhoto)
	left, err2 := asked.Int(tags.maxPictures, searchMaxRange)
	if err1 != nil || err2 != nil || size < 0 || left < 0 {
		return nil, false
	}
	return &photos{tags, min(size, maxPhoto), left}, true
}

// add puts somebody's picture, or why there is none, into a node.
func (p *photos) add(ctx context.Context, s *Server, r *request, to *wbxml.Node, id directory.ObjectID) error {
	if p == nil {
		return nil
	}
	photo, err := s.people.Photo(ctx, r.who, id)
	status := 1
	switch {
	case err != nil && fault.Of(err) != fault.NotFound:
		return err
	case err != nil || len(photo) == 0:
		status = StatusNoPicture
	case len(photo) > p.size:
		status = StatusPictureTooLarge
	case p.left == 0:
		status = StatusPictureLimitReached
	}
	picture := wbxml.New(p.tags.picture, wbxml.NewInt(p.tags.status, status))
	if status == 1 {
		p.left--
		picture.Add(wbxml.NewBytes(p.tags.data, photo))
	}
	to.Add(picture)
	return nil
}
