package eas

import (
	"context"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// album has photos by id; what is not in it has none.
type album map[directory.ObjectID]string

func (a album) Photo(_ context.Context, _ directory.Principal, id directory.ObjectID) ([]byte, error) {
	if id == 99 {
		return nil, fault.New(fault.Unavailable, "away")
	}
	if p, ok := a[id]; ok {
		return []byte(p), nil
	}
	return nil, fault.New(fault.NotFound, "no photo")
}

// pictured is a directory with photos.
type pictured struct {
	*fake
	album
}

func (p pictured) Photo(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]byte, error) {
	return p.album.Photo(ctx, as, id)
}

func TestPhotos(t *testing.T) {
	s := &Server{people: pictured{&fake{}, album{1: "one", 2: strings.Repeat("2", 500), 3: "three"}}}
	asked := func(lines ...*wbxml.Node) *wbxml.Node { return wbxml.New(wbxml.SearchPicture, lines...) }
	for _, tt := range []struct {
		name  string
		asked *wbxml.Node
		want  []int // statuses for 1, 2, 3, 4
		ok    bool
	}{
		{"not asked for", nil, []int{0, 0, 0, 0}, true},
		{"everything", asked(), []int{1, 1, 1, StatusNoPicture}, true},
		{"small ones", asked(wbxml.NewInt(wbxml.SearchMaxSize, 100)), []int{1, StatusPictureTooLarge, 1, StatusNoPicture}, true},
		{"one", asked(wbxml.NewInt(wbxml.SearchMaxPictures, 1)), []int{1, StatusPictureLimitReached, StatusPictureLimitReached, StatusNoPicture}, true},
		{"none", asked(wbxml.NewInt(wbxml.SearchMaxPictures, 0)), []int{StatusPictureLimitReached, StatusPictureLimitReached, StatusPictureLimitReached, StatusNoPicture}, true},
		{"nonsense", asked(wbxml.NewInt(wbxml.SearchMaxSize, -1)), nil, false},
		{"no number", asked(wbxml.NewText(wbxml.SearchMaxPictures, "many")), nil, false},
	} {
		p, ok := askedPhotos(searchPhotos, tt.asked)
		if ok != tt.ok {
			t.Errorf("%s: ok is %v", tt.name, ok)
		}
		for i, want := range tt.want {
			n := wbxml.New(wbxml.SearchProperties)
			if err := p.add(t.Context(), s, &request{}, n, directory.ObjectID(i+1)); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			got := 0
			if c := n.Child(wbxml.GalPicture); c != nil {
				got, _ = c.Int(wbxml.GalStatus, 0)
				if has := c.Child(wbxml.GalData) != nil && len(c.Child(wbxml.GalData).Bytes) > 0; has != (want == 1) {
					t.Errorf("%s, %d: has a picture: %v", tt.name, i+1, has)
				}
			}
			if got != want {
				t.Errorf("%s, %d: got status %d, want %d", tt.name, i+1, got, want)
			}
		}
	}
	p, _ := askedPhotos(searchPhotos, asked())
	if err := p.add(t.Context(), s, &request{}, wbxml.New(wbxml.SearchProperties), 99); fault.Of(err) != fault.Unavailable {
		t.Errorf("a directory that is away: %v", err)
	}
}
