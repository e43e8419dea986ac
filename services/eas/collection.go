package eas

import (
	"encoding/binary"
	"errors"

	"waypost/store"
)

// collectionScope is where a phone's state of a collection is kept.
func collectionScope(id store.FolderID) string { return "folder/" + folderServerID(id) }

// seen is what Ping must know of a collection. The data of a collection's state
// begins with it.
type seen struct {
	Seq  store.Seq // the folder's HighestSeq which the key issued last covers
	More bool      // the answer with that key left something out
}

// seenVersion is the first byte of a collection's state.
const seenVersion = 1

// append writes the beginning of a state's data.
func (m seen) append(b []byte) []byte {
	more := byte(0)
	if m.More {
		more = 1
	}
	return binary.AppendUvarint(append(b, seenVersion, more), uint64(m.Seq))
}

// cutSeen reads the beginning of a state's data and gives the rest.
func cutSeen(data []byte) (seen, []byte, error) {
	if len(data) < 3 || data[0] != seenVersion || data[1] > 1 {
		return seen{}, nil, errors.New("collection state of another format")
	}
	seq, n := binary.Uvarint(data[2:])
	if n <= 0 {
		return seen{}, nil, errors.New("collection state is cut")
	}
	return seen{Seq: store.Seq(seq), More: data[1] == 1}, data[2+n:], nil
}
