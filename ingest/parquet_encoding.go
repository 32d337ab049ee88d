package ingest

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"github.com/parquet-go/parquet-go/format"
)

// The encodings of values, each as a reader that is asked for some values at
// a time. They stand in for those of package encoding of parquet-go, which
// decode a page at once: into as much memory as the page says, and with
// assembly that takes widths of up to 255 bits as they come.
// Source: apache/parquet-format, Encodings.md.

var errShortPage = errors.New("a page ends before its last value")

// bitsAt reads width bits, at most 64, that begin at bit pos of data, the
// lowest bits first. Beyond data the bits are 0.
func bitsAt(data []byte, pos uint64, width uint8) uint64 {
	i, shift := pos>>3, pos&7
	if i+9 <= uint64(len(data)) {
		v := binary.LittleEndian.Uint64(data[i:]) >> shift
		if shift > 0 {
			v |= uint64(data[i+8]) << (64 - shift)
		}
		return v & (math.MaxUint64 >> (64 - width))
	}
	var last [9]byte
	if i < uint64(len(data)) {
		copy(last[:], data[i:])
	}
	v := binary.LittleEndian.Uint64(last[:]) >> shift
	if shift > 0 {
		v |= uint64(last[8]) << (64 - shift)
	}
	return v & (math.MaxUint64 >> (64 - width))
}

// hybrid reads numbers of up to 32 bits in runs of one value and runs that
// are packed bit by bit. Levels and the indexes of dictionaries are written
// so.
type hybrid struct {
	data   []byte
	width  uint8
	left   uint64 // values of the run at hand
	value  uint32 // of each, when packed is nil
	packed []byte // and some bytes behind it, for loads of eight bytes
	bit    uint64 // of packed
}

func (h *hybrid) reset(data []byte, width uint8) { *h = hybrid{data: data, width: width} }

// run begins the next run.
func (h *hybrid) run() error {
	head, n := binary.Uvarint(h.data)
	if n <= 0 {
		return errShortPage
	}
	h.data = h.data[n:]
	if head&1 == 0 {
		size := int(h.width+7) / 8
		if size > len(h.data) {
			return errShortPage
		}
		var v [4]byte
		copy(v[:], h.data[:size])
		h.left, h.value, h.packed = head>>1, binary.LittleEndian.Uint32(v[:]), nil
		h.data = h.data[size:]
		return nil
	}
	// Groups of eight values, of as many bytes as a value has bits.
	groups := head >> 1
	if groups > uint64(len(h.data)) && h.width > 0 || groups > math.MaxInt32 {
		groups = uint64(len(h.data))
	}
	size := min(groups*uint64(h.width), uint64(len(h.data)))
	h.left, h.packed, h.bit = groups*8, h.data[:min(size+8, uint64(len(h.data)))], 0
	if h.width > 0 { // the last group may lack the bytes that nobody needs
		h.left = min(h.left, size*8/uint64(h.width))
	}
	h.data = h.data[size:]
	return nil
}

// next returns how many of the next n values are in one run. It begins the
// next run where one is over.
func (h *hybrid) next(n int) (int, error) {
	for h.left == 0 {
		if err := h.run(); err != nil {
			return 0, err
		}
	}
	return int(min(h.left, uint64(n))), nil
}

// repeated passes over n values of the run if they are all the same, and
// returns that value.
func (h *hybrid) repeated(n int) (uint32, bool) {
	if h.packed != nil && h.width > 0 {
		return 0, false
	}
	h.left -= uint64(n)
	return h.value, true
}

// fill reads len(out) values.
func (h *hybrid) fill(out []uint32) error {
	for len(out) > 0 {
		n, err := h.next(len(out))
		if err != nil {
			return err
		}
		if value, ok := h.repeated(n); ok {
			for i := range out[:n] {
				out[i] = value
			}
		} else {
			h.unpack(out[:n])
		}
		out = out[n:]
	}
	return nil
}

// unpack reads len(out) values of a run that is packed.
//
// Up to 14 bits, which is most of what flow logs have, four values come out of
// one load of eight bytes, whatever the bit that they begin at.
func (h *hybrid) unpack(out []uint32) {
	h.left -= uint64(len(out))
	width, bit, data := uint64(h.width), h.bit, h.packed
	mask := uint32(1<<width - 1)
	loads := uint64(0) // where the last load of eight bytes may begin, and one
	if len(data) >= 8 {
		loads = uint64(len(data)) - 7
	}
	if width <= 14 {
		for ; len(out) >= 4 && bit>>3 < loads; out = out[4:] {
			v := binary.LittleEndian.Uint64(data[bit>>3:]) >> (bit & 7)
			out[0] = uint32(v) & mask
			v >>= width & 63
			out[1] = uint32(v) & mask
			v >>= width & 63
			out[2] = uint32(v) & mask
			v >>= width & 63
			out[3] = uint32(v) & mask
			bit += 4 * width
		}
	}
	for ; len(out) > 0 && bit>>3 < loads; out = out[1:] {
		out[0] = uint32(binary.LittleEndian.Uint64(data[bit>>3:])>>(bit&7)) & mask
		bit += width
	}
	for i := range out {
		out[i] = uint32(bitsAt(data, bit, h.width))
		bit += width
	}
	h.bit = bit
}

// delta reads numbers of which the differences are stored, in blocks of
// several widths.
type delta struct {
	data       []byte
	left       uint64 // values that have not been read
	last       int64
	first      bool // last has not been handed out
	perMini    uint64
	minis      int
	minDelta   int64
	widths     []byte // of the mini blocks to come in the block
	mini       []byte
	bit, width uint64
	inMini     uint64 // values left in mini
}

var errDelta = errors.New("a delta encoding has impossible sizes")

// reset begins to read the numbers at the beginning of data.
func (d *delta) reset(data []byte) error {
	var head [3]uint64 // size of blocks, mini blocks of each, number of values
	for i := range head {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return errShortPage
		}
		head[i], data = v, data[n:]
	}
	first, n := binary.Varint(data)
	if n <= 0 {
		return errShortPage
	}
	size, minis := head[0], head[1]
	if size == 0 || size > 1<<20 || minis == 0 || minis > size || size%minis != 0 ||
		size/minis%8 != 0 || head[2] > math.MaxInt32 {
		return errDelta
	}
	*d = delta{data: data[n:], left: head[2], last: first, first: true, perMini: size / minis, minis: int(minis)}
	return nil
}

// next reads one value.
func (d *delta) next() (int64, error) {
	if d.left == 0 {
		return 0, errShortPage
	}
	d.left--
	if d.first {
		d.first = false
		return d.last, nil
	}
	if d.inMini == 0 {
		if err := d.nextMini(d.left + 1); err != nil {
			return 0, err
		}
	}
	d.inMini--
	if d.width > 0 {
		d.last += int64(bitsAt(d.mini, d.bit, uint8(d.width)))
		d.bit += d.width
	}
	d.last += d.minDelta
	return d.last, nil
}

// nextMini begins the next mini block, and with it the next block, for the
// given number of values that are to come.
func (d *delta) nextMini(left uint64) error {
	if len(d.widths) == 0 {
		v, n := binary.Varint(d.data)
		if n <= 0 || len(d.data)-n < d.minis {
			return errShortPage
		}
		d.minDelta = v
		d.widths, d.data = d.data[n:n+d.minis], d.data[n+d.minis:]
	}
	d.width, d.widths = uint64(d.widths[0]), d.widths[1:]
	if d.width > 64 {
		return errDelta
	}
	size := d.perMini * d.width / 8
	if need := (min(d.perMini, left)*d.width + 7) / 8; need > uint64(len(d.data)) {
		return errShortPage
	}
	size = min(size, uint64(len(d.data)))
	d.mini, d.data = d.data[:size], d.data[size:]
	d.bit, d.inMini = 0, d.perMini
	return nil
}

// end passes over the values and returns what follows them.
func (d delta) end() ([]byte, error) {
	for d.left > 0 {
		if d.inMini == 0 && !d.first {
			if err := d.nextMini(d.left); err != nil {
				return nil, err
			}
		}
		n := min(d.left, max(d.inMini, 1))
		d.left -= n
		d.inMini -= min(d.inMini, n)
		d.first = false
	}
	return d.data, nil
}

// maxDeltaText bounds a value in DELTA_BYTE_ARRAY, which can take up the
// whole value before it for two bytes.
const maxDeltaText = 64 << 10

// pageValues reads the values of one page, without its nulls.
type pageValues struct {
	encoding format.Encoding
	typ      format.Type
	length   int // of FIXED_LEN_BYTE_ARRAY
	data     []byte
	at       int // values read, for fixed lengths

	indexes  hybrid // of a dictionary
	ints     delta
	lengths  delta
	prefixes delta
	last     []byte // value, where the next one shares its beginning
}

var errEncoding = errors.New("this encoding is not read for this type; write the file with plain or dictionary encoding")

// plainDictionary is what RLE_DICTIONARY was called at first; many writers
// still do.
const plainDictionary format.Encoding = 2

// isDictionary reports whether the values are indexes of the dictionary.
func (v *pageValues) isDictionary() bool {
	return v.encoding == format.RLEDictionary || v.encoding == plainDictionary
}

// reset begins to read data.
func (v *pageValues) reset(encoding format.Encoding, l *leaf, data []byte) error {
	v.encoding, v.typ, v.length, v.data, v.at = encoding, l.typ, l.length, data, 0
	switch encoding {
	case format.Plain:
		return nil
	case format.RLEDictionary, plainDictionary:
		if len(data) == 0 { // a page of nulls
			v.indexes.reset(nil, 0)
			return nil
		}
		if data[0] > 32 {
			return errEncoding
		}
		v.indexes.reset(data[1:], data[0])
		return nil
	case format.RLE:
		if v.typ != format.Boolean || len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
			return errEncoding
		}
		v.indexes.reset(data[4:4+binary.LittleEndian.Uint32(data)], 1)
		return nil
	case format.ByteStreamSplit:
		if v.width() == 0 {
			return errEncoding
		}
		return nil
	}
	return v.resetDelta(data)
}

func (v *pageValues) resetDelta(data []byte) (err error) {
	if len(data) == 0 { // a page of nulls, of some writers
		v.ints, v.lengths, v.prefixes = delta{}, delta{}, delta{}
		return nil
	}
	bytes := v.typ == format.ByteArray || v.typ == format.FixedLenByteArray
	switch {
	case v.encoding == format.DeltaBinaryPacked && (v.typ == format.Int32 || v.typ == format.Int64):
		return v.ints.reset(data)
	case v.encoding == format.DeltaLengthByteArray && bytes:
	case v.encoding == format.DeltaByteArray && bytes:
		if err := v.prefixes.reset(data); err != nil {
			return err
		}
		if data, err = v.prefixes.end(); err != nil {
			return err
		}
		v.last = v.last[:0]
	default:
		return errEncoding
	}
	if err := v.lengths.reset(data); err != nil {
		return err
	}
	v.data, err = v.lengths.end()
	return err
}

// width is how many bytes a value of the type takes, or 0 when that varies.
func (v *pageValues) width() int {
	switch v.typ {
	case format.Int32, format.Float:
		return 4
	case format.Int64, format.Double:
		return 8
	case format.Int96:
		return 12
	case format.FixedLenByteArray:
		return v.length
	}
	return 0
}

// integers reads len(out) values of a numeric type: integers as they are,
// Booleans as 0 and 1, floating point as its bits, INT96 as a time in Unix
// seconds.
func (v *pageValues) integers(out []int64) error {
	switch v.encoding {
	case format.Plain:
		return v.plainIntegers(out)
	case format.DeltaBinaryPacked:
		return v.deltaIntegers(out)
	case format.RLE:
		var one [1]uint32
		for i := range out {
			if err := v.indexes.fill(one[:]); err != nil {
				return err
			}
			out[i] = int64(one[0])
		}
		return nil
	case format.ByteStreamSplit:
		return v.splitIntegers(out)
	}
	return errEncoding
}

func (v *pageValues) plainIntegers(out []int64) error {
	if v.typ == format.Boolean {
		if (v.at+len(out)+7)/8 > len(v.data) {
			return errShortPage
		}
		for i := range out {
			out[i] = int64(v.data[v.at/8] >> (v.at % 8) & 1)
			v.at++
		}
		return nil
	}
	width := v.width()
	if width == 0 || len(v.data)/width < len(out) {
		return errShortPage
	}
	data := v.data
	switch v.typ {
	case format.Int32, format.Float:
		for i := range out {
			out[i] = int64(int32(binary.LittleEndian.Uint32(data[4*i:])))
		}
	case format.Int64, format.Double:
		for i := range out {
			out[i] = int64(binary.LittleEndian.Uint64(data[8*i:]))
		}
	case format.Int96:
		for i := range out {
			out[i] = int96Seconds(data[12*i:])
		}
	default:
		return errEncoding
	}
	v.data = data[width*len(out):]
	return nil
}

// int96Seconds reads a time as Impala and Hive wrote it: nanoseconds of the
// day, then the Julian day.
// Source: apache/parquet-format, issue PARQUET-861; Impala's TimestampValue.
func int96Seconds(b []byte) int64 {
	const unixEpoch, secondsPerDay = 2440588, 86400
	nanos, day := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
	return (int64(day)-unixEpoch)*secondsPerDay + int64(nanos/1e9)
}

func (v *pageValues) deltaIntegers(out []int64) error {
	for i := range out {
		n, err := v.ints.next()
		if err != nil {
			return err
		}
		if v.typ == format.Int32 {
			n = int64(int32(n)) // differences of INT32 wrap around
		}
		out[i] = n
	}
	return nil
}

// splitIntegers reads values whose first bytes stand together, then their
// second ones, and so on.
func (v *pageValues) splitIntegers(out []int64) error {
	width := v.width()
	stride := len(v.data) / width
	if width > 8 || v.at+len(out) > stride {
		return errShortPage
	}
	for i := range out {
		var n uint64
		for k := range width {
			n |= uint64(v.data[k*stride+v.at]) << (8 * k)
		}
		if width == 4 {
			n = uint64(int64(int32(n)))
		}
		out[i] = int64(n)
		v.at++
	}
	return nil
}

// bytes reads one value of a type made of bytes. It is valid until the next
// call, and until the page is left.
func (v *pageValues) bytes() ([]byte, error) {
	switch v.encoding {
	case format.Plain:
		if v.typ == format.FixedLenByteArray {
			return v.take(int64(v.length))
		}
		if len(v.data) < 4 {
			return nil, errShortPage
		}
		n := binary.LittleEndian.Uint32(v.data)
		v.data = v.data[4:]
		return v.take(int64(n))
	case format.DeltaLengthByteArray:
		n, err := v.lengths.next()
		if err != nil {
			return nil, err
		}
		return v.take(n)
	case format.DeltaByteArray:
		return v.sharedBytes()
	case format.ByteStreamSplit:
		return v.splitBytes()
	}
	return nil, errEncoding
}

func (v *pageValues) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(v.data)) {
		return nil, errShortPage
	}
	b := v.data[:n]
	v.data = v.data[n:]
	return b, nil
}

// sharedBytes reads a value that begins like the one before it.
func (v *pageValues) sharedBytes() ([]byte, error) {
	prefix, err := v.prefixes.next()
	if err != nil {
		return nil, err
	}
	n, err := v.lengths.next()
	if err != nil {
		return nil, err
	}
	suffix, err := v.take(n)
	if err != nil {
		return nil, err
	}
	if prefix < 0 || prefix > int64(len(v.last)) || prefix+n > maxDeltaText {
		return nil, errDelta
	}
	v.last = append(v.last[:prefix], suffix...)
	return v.last, nil
}

func (v *pageValues) splitBytes() ([]byte, error) {
	stride := len(v.data) / v.length
	if v.at >= stride {
		return nil, errShortPage
	}
	v.last = v.last[:0]
	for k := range v.length {
		v.last = append(v.last, v.data[k*stride+v.at])
	}
	v.at++
	return v.last, nil
}

// levelWidth is how many bits a level of at most highest takes.
func levelWidth(highest uint8) uint8 { return uint8(bits.Len8(highest)) }
