package flow

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// Addr is an IPv4 or IPv6 address in 16 bytes without pointers, the
// cheapest thing to compare, to hash and to keep by the million. IPv4 is
// stored in its IPv6-mapped form. The zero Addr means "not in the record"
// (the log's "-"); the unspecified address "::" reads as the same.
type Addr struct{ hi, lo uint64 }

const mapped4 = 0xffff << 32

// AddrFrom packs a. An IPv4-mapped IPv6 address becomes the IPv4 address,
// and a zone is dropped: flow logs have neither.
func AddrFrom(a netip.Addr) Addr {
	if !a.IsValid() {
		return Addr{}
	}
	b := a.As16()
	return Addr{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// AddrFrom4 packs an IPv4 address given as a big-endian number.
func AddrFrom4(v uint32) Addr { return Addr{0, mapped4 | uint64(v)} }

// ParseAddr reads an address in its text form.
func ParseAddr(s string) (Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return Addr{}, err
	}
	return AddrFrom(a), nil
}

// IsValid reports whether a holds an address.
func (a Addr) IsValid() bool { return a != Addr{} }

// Is4 reports whether a is an IPv4 address.
func (a Addr) Is4() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

// As4 returns an IPv4 address as a big-endian number; ok is false when a is
// none.
func (a Addr) As4() (v uint32, ok bool) { return uint32(a.lo), a.Is4() }

// Netip returns a as a netip.Addr; the zero Addr gives the invalid one.
func (a Addr) Netip() netip.Addr {
	if !a.IsValid() {
		return netip.Addr{}
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b).Unmap()
}

// String returns the text form, or "-" for the zero Addr.
func (a Addr) String() string {
	if !a.IsValid() {
		return "-"
	}
	return a.Netip().String()
}

// Compare orders addresses numerically, IPv4 before IPv6 in practice
// because mapped addresses have a zero upper half.
func (a Addr) Compare(b Addr) int {
	if c := cmp.Compare(a.hi, b.hi); c != 0 {
		return c
	}
	return cmp.Compare(a.lo, b.lo)
}

// Prefix returns the network of a with the given number of bits, counted
// from the start of the IPv4 or IPv6 address that a is.
func (a Addr) Prefix(bits int) netip.Prefix {
	p, err := a.Netip().Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
