package ingest

import (
	"encoding/binary"

	"ephemera/ingest/flow"
)

// interner makes one string of equal texts: interface, account and subnet
// IDs repeat on every line, and a string each would be most of the memory.
type interner struct {
	// last holds each field's latest value. Neighbouring lines often agree,
	// and comparing is several times cheaper than hashing.
	last [flow.NumFields]string

	// recent holds names where their last bytes say. It stands in front of
	// all because it takes two thirds of the time, for 200 interfaces.
	recent [recentNames]string
	all    map[string]string
}

const recentNames = 1 << recentBits
const recentBits = 10

// The bounds keep a log of values that never repeat from filling the memory;
// beyond them texts are copied.
const (
	maxInterned    = 64 << 10
	maxInternedLen = 256
)

// field returns tok, a value of the field f, as a string. A text that is not
// printable gives an error.
func (n *interner) field(f flow.Field, tok []byte) (string, error) {
	if s := n.last[f]; string(tok) == s {
		return s, nil
	}
	s, err := n.text(tok)
	if err == nil {
		n.last[f] = s
	}
	return s, err
}

// text is field for values that no field of ours owns.
func (n *interner) text(tok []byte) (string, error) {
	if len(tok) < 8 {
		return n.lookUp(tok)
	}
	r := &n.recent[recentSlot(tok)]
	if string(tok) == *r {
		return *r, nil
	}
	s, err := n.lookUp(tok)
	if err == nil {
		*r = s
	}
	return s, err
}

// recentSlot is where tok, of eight bytes or more, is kept in recent. IDs
// differ in their last bytes.
func recentSlot(tok []byte) uint64 {
	tail := binary.LittleEndian.Uint64(tok[len(tok)-8:])
	return tail * 0x9e3779b97f4a7c15 >> (64 - recentBits)
}

func (n *interner) lookUp(tok []byte) (string, error) {
	if s, ok := n.all[string(tok)]; ok {
		return s, nil
	}
	if err := checkText(tok); err != nil {
		return "", err
	}
	s := string(tok)
	if len(n.all) < maxInterned && len(s) <= maxInternedLen {
		if n.all == nil {
			n.all = make(map[string]string)
		}
		n.all[s] = s
	}
	return s, nil
}
