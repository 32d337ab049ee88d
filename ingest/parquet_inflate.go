package ingest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// inflater decompresses DEFLATE from memory to memory.
//
// A page lies in memory as a whole and its header says what it gives, so there
// is no need for the window, the copies and the calls a byte that a reader of
// streams has: the pages of a flow log take 60 ns a record where they took 104
// with klauspost/compress. The way is that of libdeflate: 64 bits of
// input at hand, tables that give the meaning of the next ten bits at once,
// copies of eight bytes at a time.
//
// It knows the right pages only. What it does not understand, damaged or
// unusual, it leaves to the reader of streams, which says what is wrong.
// Source: RFC 1951 and RFC 1952.
type inflater struct {
	src []byte
	pos int    // of the next byte of src that is not in bits
	bit uint64 // the next bits of the input, the first one lowest
	// count is how many of bit are read; above them may be further ones,
	// the right ones. It goes below 0 at the end of src, where zeros follow.
	count int

	lengths [maxLiterals + maxDistances]uint8 // of the codes, by symbol
	tables  inflateTables                     // of the codes of the block
}

// inflateTables are those of literals with lengths, and of distances.
type inflateTables struct {
	literals  [literalEntries]uint32
	distances [distanceEntries]uint32
}

// A table has an entry for each value of the next bits, and behind them the
// tables of longer codes. How large these get, together, is the worst case
// over all codes of up to 15 bits, as zlib's program enough.c finds it.
const (
	maxLiterals     = 288 // two of them, as of the distances, are never used
	maxDistances    = 32
	maxCodeBits     = 15
	literalBits     = 10
	literalEntries  = 1334
	distanceBits    = 8
	distanceEntries = 402
)

// An entry of a table holds, from the lowest bit on:
//
//	8 bits   how many bits to go on by, extra bits included
//	4 bits   how many of these are the code's; of another table, its width
//	4 bits   flags
//	16 bits  literal, or length or distance without the extra bits; of another
//	         table, where it begins
const (
	entryEnd     = 1 << 12 // of the block
	entryTable   = 1 << 13 // the meaning is in another table
	entryInvalid = 1 << 14
	entryLiteral = 1 << 15

	entryUnusual = entryEnd | entryTable | entryInvalid
)

// gunzip decompresses src, which is one member of gzip, and reports whether it
// gives exactly dst.
func (f *inflater) gunzip(dst, src []byte) bool {
	const header, trailer = 10, 8
	if len(src) < header+trailer || src[0] != 0x1f || src[1] != 0x8b || src[2] != 8 || src[3] != 0 {
		return false
	}
	f.src, f.pos, f.bit, f.count = src[:len(src)-trailer], header, 0, 0
	defer func() { f.src = nil }()
	if !f.inflate(dst) {
		return false
	}
	end := src[len(src)-trailer:]
	return binary.LittleEndian.Uint32(end) == crc32.ChecksumIEEE(dst) && binary.LittleEndian.Uint32(end[4:]) == uint32(len(dst))
}

// inflate reads blocks to the last, and reports whether they fill dst and take
// all of src.
func (f *inflater) inflate(dst []byte) bool {
	at := 0
	for last := false; !last; {
		last = f.take(1) == 1
		ok := false
		switch f.take(2) {
		case 0:
			at, ok = f.stored(dst, at)
		case 1:
			f.tables = *fixedTables
			at, ok = f.block(dst, at)
		case 2:
			if f.readCodes() {
				at, ok = f.block(dst, at)
			}
		}
		if !ok {
			return false
		}
	}
	return at == len(dst) && f.count >= 0 && f.pos-f.count/8 == len(f.src)
}

// take reads some bits, 16 at the most.
func (f *inflater) take(n int) uint64 {
	v := f.peek(n)
	if f.count < n { // f.inflate sees it
		f.bit, f.count = 0, -1
		return 0
	}
	f.bit >>= n
	f.count -= n
	return v
}

// peek returns the next bits without passing over them, zeros at the end.
func (f *inflater) peek(n int) uint64 {
	for f.count < n && f.pos < len(f.src) {
		f.bit |= uint64(f.src[f.pos]) << f.count
		f.pos++
		f.count += 8
	}
	return f.bit & (1<<n - 1)
}

// stored copies a block that is not compressed.
func (f *inflater) stored(dst []byte, at int) (int, bool) {
	if f.count < 0 {
		return at, false
	}
	f.pos -= f.count / 8
	f.bit, f.count = 0, 0
	rest := f.src[f.pos:]
	if len(rest) < 4 {
		return at, false
	}
	n := int(binary.LittleEndian.Uint16(rest))
	if binary.LittleEndian.Uint16(rest[2:]) != ^uint16(n) || n > len(rest)-4 || n > len(dst)-at {
		return at, false
	}
	f.pos += 4 + n
	return at + copy(dst[at:], rest[4:4+n]), true
}

// fixedTables are those of the codes that need no description. Small pages are
// written in them.
var fixedTables = func() *inflateTables {
	var literals [maxLiterals]uint8
	for i := range literals {
		switch {
		case i < 144, i >= 280:
			literals[i] = 8
		case i < 256:
			literals[i] = 9
		default:
			literals[i] = 7
		}
	}
	distances := bytes.Repeat([]byte{5}, maxDistances)
	t := new(inflateTables)
	t.make(literals[:], distances)
	return t
}()

// make makes the tables of the codes with the given lengths.
func (t *inflateTables) make(literals, distances []uint8) bool {
	return makeTable(t.literals[:], literalBits, literals, &literalMeanings) &&
		makeTable(t.distances[:], distanceBits, distances, &distanceMeanings)
}

// lengthOrder is the order in which the lengths of the codes for lengths come.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes makes the tables of the codes that a block describes.
func (f *inflater) readCodes() bool {
	literals, distances, n := int(f.take(5))+257, int(f.take(5))+1, int(f.take(4))+4
	var lengths [len(lengthOrder)]uint8
	for _, i := range lengthOrder[:n] {
		lengths[i] = uint8(f.take(3))
	}
	if literals > maxLiterals-2 || distances > maxDistances-2 || !f.readLengths(lengths[:], f.lengths[:literals+distances]) {
		return false
	}
	return f.tables.make(f.lengths[:literals], f.lengths[literals:literals+distances])
}

// readLengths reads the lengths of codes, which are themselves in a code.
func (f *inflater) readLengths(code, out []uint8) bool {
	const width = 7 // of the longest code for a length
	var table [1 << width]uint32
	if !makeTable(table[:], width, code, &lengthMeanings) {
		return false
	}
	for i := 0; i < len(out); {
		e := table[f.peek(width)]
		if e&entryUnusual != 0 {
			return false
		}
		f.take(int(e & 0xff))
		symbol, n := uint8(e>>16), 1
		switch symbol {
		case 16:
			if i == 0 {
				return false
			}
			symbol, n = out[i-1], 3+int(f.take(2))
		case 17:
			symbol, n = 0, 3+int(f.take(3))
		case 18:
			symbol, n = 0, 11+int(f.take(7))
		}
		if n > len(out)-i || f.count < 0 {
			return false
		}
		for range n {
			out[i] = symbol
			i++
		}
	}
	return true
}

// meanings are the entries of symbols, without the lengths of their codes.
type meanings [maxLiterals]uint32

var literalMeanings, distanceMeanings, lengthMeanings = func() (literals, distances, lengths meanings) {
	for i := range literals {
		literals[i], distances[i], lengths[i] = entryInvalid, entryInvalid, uint32(i)<<16
		if i < 256 {
			literals[i] = entryLiteral | uint32(i)<<16
		}
	}
	literals[256] = entryEnd
	base := uint32(3)
	for i := range uint32(28) { // four lengths with the same number of extra bits
		extra := max(i/4, 1) - 1
		literals[257+i] = base<<16 | extra
		base += 1 << extra
	}
	literals[285] = 258 << 16
	base = 1
	for i := range uint32(30) { // two distances
		extra := max(i/2, 1) - 1
		distances[i] = base<<16 | extra
		base += 1 << extra
	}
	return literals, distances, lengths
}()

// makeTable makes the table of the canonical code whose lengths are given, for
// the given number of bits and, behind it, for what is longer. It refuses a
// code that says more than one thing by the same bits, and one that leaves
// bits without a meaning, unless it has one symbol of one bit, or none: that
// is how few distances are written.
func makeTable(table []uint32, width int, lengths []uint8, meaning *meanings) bool {
	var count, next [maxCodeBits + 2]int
	for _, n := range lengths {
		count[n]++
	}
	used := len(lengths) - count[0]
	count[0] = 0
	left, longest := 1, 0
	for n := 1; n <= maxCodeBits; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return false
		}
		next[n+1] = next[n] + count[n]
		if count[n] > 0 {
			longest = n
		}
	}
	if left > 0 {
		if longest > 1 {
			return false
		}
		for i := range table[:1<<width] {
			table[i] = entryInvalid
		}
	}
	var sorted [maxLiterals]uint16 // symbols, in the order of their codes
	for symbol, n := range lengths {
		if n > 0 {
			sorted[next[n]] = uint16(symbol)
			next[n]++
		}
	}
	b := tableBuilder{table: table, width: width, end: 1 << width, count: &count, longest: longest}
	code := uint32(0) // the next one, its first bit highest
	length := 0
	for _, symbol := range sorted[:used] {
		n := int(lengths[symbol])
		code <<= n - length
		length = n
		b.set(bits.Reverse32(code)>>(32-n), n, meaning[symbol])
		code++
		count[n]--
	}
	return true
}

// tableBuilder fills a table with codes that get longer and longer.
type tableBuilder struct {
	table   []uint32
	width   int
	end     int                   // of the tables so far
	count   *[maxCodeBits + 2]int // of the codes to come, by length
	longest int

	prefix uint32 // of the codes in the last table; its first bit is the lowest
	begin  int    // of the last table; 0 when there is none
	bits   int    // its width
}

// set makes the meaning of a code of n bits the given one.
func (b *tableBuilder) set(code uint32, n int, meaning uint32) {
	begin, width := 0, b.width
	if n > b.width {
		if prefix := code & (1<<b.width - 1); b.begin == 0 || prefix != b.prefix {
			b.open(prefix, n)
		}
		begin, width = b.begin, b.bits
		code >>= b.width
		n -= b.width
	}
	meaning += uint32(n)<<8 + uint32(n) // to the extra bits
	for i := int(code); i < 1<<width; i += 1 << n {
		b.table[begin+i] = meaning
	}
}

// open begins a table for codes of n bits and more with the given prefix. It
// is as wide as is needed until the codes with that prefix are used up.
func (b *tableBuilder) open(prefix uint32, n int) {
	b.begin, b.prefix, b.bits = b.end, prefix, n-b.width
	left := 1 << b.bits
	for b.width+b.bits < b.longest {
		left -= b.count[b.width+b.bits]
		if left <= 0 {
			break
		}
		b.bits++
		left <<= 1
	}
	b.end += 1 << b.bits
	b.table[prefix] = entryTable | uint32(b.begin)<<16 | uint32(b.bits)<<8 | uint32(b.width)
}

// block decompresses a block into dst from at on, and returns where it ends.
//
// Everything stands in this one function so that the state stays in
// registers. A literal takes at most 15 bits, a length with its distance 48:
// so bits are fetched once for three literals, and again for a length.
func (f *inflater) block(dst []byte, at int) (int, bool) {
	src, pos, bit, count := f.src, f.pos, f.bit, f.count
	literals, distances := &f.tables.literals, &f.tables.distances
	for {
		if pos+8 <= len(src) {
			bit |= binary.LittleEndian.Uint64(src[pos:]) << (count & 63)
			pos += (63 - count) >> 3
			count |= 56
		} else if bit, pos, count = lastBits(src, bit, pos, count); count < 0 {
			return at, false
		}
		e := literals[bit&(1<<literalBits-1)]
		for range 3 {
			if e&entryLiteral == 0 {
				break
			}
			if at >= len(dst) {
				return at, false
			}
			dst[at] = byte(e >> 16)
			at++
			bit >>= e & 63
			count -= int(e & 63)
			e = literals[bit&(1<<literalBits-1)]
		}
		if e&entryLiteral != 0 {
			continue
		}
		if pos+8 <= len(src) {
			bit |= binary.LittleEndian.Uint64(src[pos:]) << (count & 63)
			pos += (63 - count) >> 3
			count |= 56
		} else if bit, pos, count = lastBits(src, bit, pos, count); count < 0 {
			return at, false
		}
		if e&entryUnusual != 0 {
			if e&entryTable != 0 {
				bit >>= literalBits
				count -= literalBits
				e = literals[uint64(e>>16)+bit&(1<<(e>>8&15)-1)]
			}
			switch {
			case e&entryLiteral != 0:
				if at >= len(dst) {
					return at, false
				}
				dst[at] = byte(e >> 16)
				at++
				bit >>= e & 63
				count -= int(e & 63)
				continue
			case e&entryEnd != 0:
				f.pos, f.bit, f.count = pos, bit>>(e&63), count-int(e&63)
				return at, f.count >= 0
			case e&entryUnusual != 0:
				return at, false
			}
		}
		length := int(e>>16) + int(bit&(1<<(e&63)-1)>>(e>>8&15))
		bit >>= e & 63
		count -= int(e & 63)

		e = distances[bit&(1<<distanceBits-1)]
		if e&entryUnusual != 0 {
			if e&entryTable == 0 {
				return at, false
			}
			bit >>= distanceBits
			count -= distanceBits
			if e = distances[uint64(e>>16)+bit&(1<<(e>>8&15)-1)]; e&entryUnusual != 0 {
				return at, false
			}
		}
		from := at - int(e>>16) - int(bit&(1<<(e&63)-1)>>(e>>8&15))
		bit >>= e & 63
		count -= int(e & 63)

		end := at + length
		if from < 0 || end > len(dst) {
			return at, false
		}
		if from+8 <= at && end+8 <= len(dst) { // what is too much gets overwritten
			for ; at < end; at, from = at+8, from+8 {
				binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(dst[from:]))
			}
			at = end
			continue
		}
		for at < end { // the copy may begin in what it makes: twice as much each time
			at += copy(dst[at:end], dst[from:at])
		}
	}
}

// lastBits fetches bits where fewer than eight bytes are left of src.
func lastBits(src []byte, bit uint64, pos, count int) (uint64, int, int) {
	for count >= 0 && count < 56 && pos < len(src) {
		bit |= uint64(src[pos]) << count
		pos++
		count += 8
	}
	return bit, pos, count
}
