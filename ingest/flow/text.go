package flow

import (
	"encoding/binary"
	"fmt"
)

// MarshalText gives the address's text form; the zero Addr gives nothing.
func (a Addr) MarshalText() ([]byte, error) {
	if !a.IsValid() {
		return nil, nil
	}
	return a.Netip().AppendTo(nil), nil
}

// UnmarshalText reads what MarshalText wrote.
func (a *Addr) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*a = Addr{}
		return nil
	}
	v, err := ParseAddr(string(b))
	if err != nil {
		return fmt.Errorf("address %q: %w", b, err)
	}
	*a = v
	return nil
}

// MarshalText gives "ingress" or "egress", and nothing for NoDirection.
func (d Direction) MarshalText() ([]byte, error) {
	if d == NoDirection {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Direction) UnmarshalText(b []byte) error {
	switch string(b) {
	case "":
		*d = NoDirection
	case "ingress":
		*d = Ingress
	case "egress":
		*d = Egress
	default:
		return fmt.Errorf("direction %q is neither ingress nor egress", b)
	}
	return nil
}

// MarshalBinary gives the address in 16 bytes, for encoding/gob.
func (a Addr) MarshalBinary() ([]byte, error) {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, a.hi), a.lo), nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (a *Addr) UnmarshalBinary(b []byte) error {
	if len(b) != 16 {
		return fmt.Errorf("an address of %d bytes, want 16", len(b))
	}
	*a = Addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
	return nil
}
