package meeting

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/store"
)

// early is what was remembered of an event of which there is no copy: that it is
// cancelled. It is kept among the mailbox's states, as those of phones are, and
// goes with them when it is old.
type early struct {
	text       []byte
	generation int64
	asked      bool // there was no copy
}

const earlyClient = "meetings"

func earlyScope(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return "cancelled/" + hex.EncodeToString(sum[:16])
}

// recall reads what is remembered of a message's event.
func (s *Service) recall(ctx context.Context, a *actor, in *itip.Incoming) (early, error) {
	if in.Method != "REQUEST" && in.Method != "CANCEL" {
		return early{}, nil
	}
	st, err := s.store.SyncState(ctx, a.as, a.box, earlyClient, earlyScope(in.UID))
	return early{st.Data, st.Generation, true}, err
}

// remember keeps what a cancellation said that overtook the invitation. errMissing:
// the invitation came meanwhile, or another cancellation; look again.
func (s *Service) remember(ctx context.Context, a *actor, in *itip.Incoming, was early, text []byte) error {
	err := s.store.SaveSyncState(ctx, a.as, a.box, earlyClient, earlyScope(in.UID), was.generation, text, false)
	if fault.Of(err) == fault.Conflict && err != nil {
		return errMissing
	} else if err != nil {
		return err
	}
	class := store.ClassCalendar
	if in.IsTask() {
		class = store.ClassTasks
	}
	have, err := s.store.ObjectsByUID(ctx, a.as, a.box, class, in.UID)
	if err == nil && len(have) > 0 {
		err = errMissing
	}
	return err
}

// overtaken gives the cancellation that was remembered while an invitation was
// placed; nil: none was.
func (s *Service) overtaken(ctx context.Context, a *actor, in *itip.Incoming, was early) (*itip.Incoming, error) {
	if !was.asked || in.Method != "REQUEST" {
		return nil, nil
	}
	now, err := s.recall(ctx, a, in)
	if err != nil || now.generation == was.generation {
		return nil, err
	}
	return itip.Remembered(now.text)
}
