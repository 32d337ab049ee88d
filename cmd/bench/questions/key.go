package questions

import (
	"math/bits"
	"unsafe"

	"ephemera/ingest/flow"
)

// words returns the two halves of an address, as if it were a 16-byte number;
// IPv4 is in its IPv6-mapped form. Package flow shows them in no cheaper way
// than netip.Addr, which costs 13 ns an address against 1 ns.
func words(a flow.Addr) (hi, lo uint64) {
	w := *(*[2]uint64)(unsafe.Pointer(&a))
	return w[0], w[1]
}

// An Addr that is not two words does not compile.
var _ [unsafe.Sizeof(flow.Addr{})]byte = [16]byte{}

// mapped4 is the upper half of the lower word of an IPv4 address.
const mapped4 = 0xffff

// ipv4 returns two addresses as numbers, and whether both are IPv4.
func ipv4(a, b flow.Addr) (a4, b4 uint32, ok bool) {
	aHi, aLo := words(a)
	bHi, bLo := words(b)
	ok = aHi|bHi == 0 && aLo>>32 == mapped4 && bLo>>32 == mapped4
	return uint32(aLo), uint32(bLo), ok
}

// key4 is the key of an aggregation of records between IPv4 hosts, in three
// words: an entry of table with it is one cache line.
type key4 struct {
	hosts uint64 // source, destination
	flow  uint64 // interface number, source port, destination port
	kind  uint64 // protocol, action
}

// key16 is key4 for addresses of any kind.
type key16 struct {
	src, dst   flow.Addr
	flow, kind uint64
}

func packFlow(interfaceNumber uint32, srcPort, dstPort uint16) uint64 {
	return uint64(interfaceNumber)<<32 | uint64(srcPort)<<16 | uint64(dstPort)
}

func packHosts(src, dst uint32) uint64 { return uint64(src)<<32 | uint64(dst) }

func packKind(p flow.Proto, a flow.Action) uint64 { return uint64(p)<<8 | uint64(a) }

// wide returns the key with addresses in full.
func (k key4) wide() key16 {
	return key16{flow.AddrFrom4(uint32(k.hosts >> 32)), flow.AddrFrom4(uint32(k.hosts)), k.flow, k.kind}
}

// narrow is the inverse of wide; it reports whether there is one.
func (k key16) narrow() (key4, bool) {
	src, dst, ok := ipv4(k.src, k.dst)
	return key4{packHosts(src, dst), k.flow, k.kind}, ok
}

func (k key16) interfaceNumber() uint32 { return uint32(k.flow >> 32) }
func (k key16) srcPort() uint16         { return uint16(k.flow >> 16) }
func (k key16) dstPort() uint16         { return uint16(k.flow) }
func (k key16) protocol() flow.Proto    { return flow.Proto(k.kind >> 8) }
func (k key16) action() flow.Action     { return flow.Action(k.kind) }

// hashFactor is 2^64 divided by the golden ratio, and odd: it spreads the
// low bits of a number over the high ones. mixFactor is another number without
// a pattern. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014.
const (
	hashFactor = 0x9e3779b97f4a7c15
	mixFactor  = 0xbf58476d1ce4e5b9
)

// fold multiplies to 128 bits and folds them to 64, so that every bit of both
// factors has its part in every bit of the result.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (k key4) hash(seed uint64) uint64 {
	return fold(fold(k.hosts^seed, k.flow^mixFactor)^k.kind, seed|1)
}

func (k key16) hash(seed uint64) uint64 {
	srcHi, srcLo := words(k.src)
	dstHi, dstLo := words(k.dst)
	hosts := fold(srcHi^seed, srcLo^mixFactor) ^ bits.RotateLeft64(fold(dstHi^seed, dstLo^mixFactor), 1)
	return key4{hosts, k.flow, k.kind}.hash(seed)
}
