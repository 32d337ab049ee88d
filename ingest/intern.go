package ingest

import "ephemera/ingest/flow"

// interner makes one string of equal texts: interface, account and subnet
// IDs repeat on every line, and a string each would be most of the memory.
type interner struct {
	// last holds each field's latest value. Neighbouring lines often agree,
	// and comparing is several times cheaper than hashing.
	last [flow.NumFields]string
	all  map[string]string
}

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
