package analyze

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"net/netip"
	"strings"

	"ephemera/ingest/flow"
)

// A coder writes values as bytes, or reads them back. A type describes itself
// once for both, by passing its fields in order, so that what is read cannot
// differ from what was written:
//
//	func (m *Mapping) code(c *coder) {
//		c.time(&m.Start)
//		c.endKey()
//		c.since(&m.End, m.Start)
//	}
//
// What comes before endKey is the key. Keys compare byte by byte as their
// fields do one after the other: times, addresses, ports, bytes and ordered
// names. What comes behind is small instead.
//
// Bytes that no coder wrote give an error, and take memory in proportion to
// their length.
type coder struct {
	b       []byte // what was written, or what is left to be read
	reading bool
	names   *names
	key     int // the length of b at endKey
	err     error
}

// A codec passes the fields of a value to a coder.
type codec[T any] func(*coder, *T)

// errDamaged is for a temporary file that somebody else has written to.
var errDamaged = errors.New("its content is not what was written")

// endKey ends the key.
func (c *coder) endKey() { c.key = len(c.b) }

// take returns the next n bytes; zeros when there are not so many.
func (c *coder) take(n int) []byte {
	if n > len(c.b) {
		c.fail()
		return make([]byte, min(n, addrSize))
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

// fail ends the reading.
func (c *coder) fail() { c.b, c.err = nil, errDamaged }

// byte passes one byte.
func (c *coder) byte(v *uint8) {
	if c.reading {
		*v = c.take(1)[0]
	} else {
		c.b = append(c.b, *v)
	}
}

// enum passes a value of an enumeration, of which most is the last.
func enum[T ~uint8](c *coder, v *T, most T) {
	b := uint8(*v)
	if c.byte(&b); c.reading && b > uint8(most) {
		b = 0
		c.fail()
	}
	*v = T(b)
}

func (c *coder) bool(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	enum(c, &b, 1)
	*v = b == 1
}

func (c *coder) port(v *uint16) {
	if !c.reading {
		c.b = append(c.b, byte(*v>>8), byte(*v))
	} else {
		*v = binary.BigEndian.Uint16(c.take(2))
	}
}

// The marks before a time say how it follows, in their order.
const (
	timeBefore1970 = iota // in eight bytes
	timeShort             // in four
	timeLong              // in eight
)

// unix passes a time in Unix seconds: in five bytes, those of this century.
func (c *coder) unix(v *int64) {
	if c.reading {
		c.readUnix(v)
		return
	}
	switch {
	case *v < 0:
		c.b = binary.BigEndian.AppendUint64(append(c.b, timeBefore1970), uint64(*v))
	case *v <= math.MaxUint32:
		c.b = binary.BigEndian.AppendUint32(append(c.b, timeShort), uint32(*v))
	default:
		c.b = binary.BigEndian.AppendUint64(append(c.b, timeLong), uint64(*v))
	}
}

func (c *coder) readUnix(v *int64) {
	switch c.take(1)[0] {
	case timeShort:
		*v = int64(binary.BigEndian.Uint32(c.take(4)))
	case timeBefore1970, timeLong:
		*v = int64(binary.BigEndian.Uint64(c.take(8)))
	default:
		c.fail()
	}
}

// time passes a time.
func (c *coder) time(v *Time) { c.unix((*int64)(v)) }

// The marks before an address say how it follows, in their order.
const (
	noAddr      = iota // nothing follows
	addrBelowV4        // 16 bytes
	addrV4             // four bytes
	addrAboveV4        // 16 bytes
)

const addrSize = 16

// addr passes an address: in five bytes, one of IPv4.
func (c *coder) addr(v *flow.Addr) {
	switch {
	case c.reading:
		c.readAddr(v)
	case v.Is4():
		a := v.Netip().As4()
		c.b = append(c.b, addrV4, a[0], a[1], a[2], a[3])
	case !v.IsValid():
		c.b = append(c.b, noAddr)
	default:
		mark := byte(addrBelowV4)
		if v.Compare(flow.AddrFrom4(0)) > 0 {
			mark = addrAboveV4
		}
		a := v.Netip().As16()
		c.b = append(append(c.b, mark), a[:]...)
	}
}

func (c *coder) readAddr(v *flow.Addr) {
	switch c.take(1)[0] {
	case noAddr:
		*v = flow.Addr{}
	case addrV4:
		*v = flow.AddrFrom4(binary.BigEndian.Uint32(c.take(4)))
	case addrBelowV4, addrAboveV4:
		*v = flow.AddrFrom(netip.AddrFrom16([addrSize]byte(c.take(addrSize))))
	default:
		c.fail()
	}
}

// tuple passes a five-tuple.
func (c *coder) tuple(v *flow.Tuple) {
	c.addr(&v.Src)
	c.addr(&v.Dst)
	c.port(&v.SrcPort)
	c.port(&v.DstPort)
	c.byte((*uint8)(&v.Proto))
}

// orderedName passes a name as part of the key: the text with its zero bytes
// escaped, and two of them at the end.
func (c *coder) orderedName(v *string) {
	if c.reading {
		c.readOrderedName(v)
		return
	}
	c.names.number(*v) // for reading
	text := *v
	for i := strings.IndexByte(text, 0); i >= 0; i = strings.IndexByte(text, 0) {
		c.b = append(append(c.b, text[:i]...), 0, 0xff)
		text = text[i+1:]
	}
	c.b = append(append(c.b, text...), 0, 0)
}

func (c *coder) readOrderedName(v *string) {
	var unescaped []byte
	for {
		i := bytes.IndexByte(c.b, 0)
		if i < 0 || i+1 == len(c.b) {
			*v = ""
			c.fail()
			return
		}
		text, mark := c.b[:i], c.b[i+1]
		c.b = c.b[i+2:]
		switch {
		case mark != 0:
			unescaped = append(append(unescaped, text...), 0)
			continue
		case unescaped != nil:
			text = append(unescaped, text...)
		}
		*v = c.names.intern(text)
		return
	}
}

// uint passes a number that is often small.
func (c *coder) uint(v *uint64) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	x, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		x, n = 0, 0
	}
	*v, c.b = x, c.b[n:]
}

// int passes a number that is often small, either way from 0.
func (c *coder) int(v *int64) {
	u := uint64(*v)<<1 ^ uint64(*v>>63)
	c.uint(&u)
	*v = int64(u>>1) ^ -int64(u&1)
}

// count passes a number of rows, ports or the like.
func (c *coder) count(v *int) {
	x := int64(*v)
	c.int(&x)
	*v = int(x)
}

// since passes a time that is often close behind another.
func (c *coder) since(v *Time, from Time) {
	d := int64(*v - from)
	c.int(&d)
	*v = from + Time(d)
}

// float passes a number that often has few binary digits.
func (c *coder) float(v *float64) {
	u := bits.ReverseBytes64(math.Float64bits(*v))
	c.uint(&u)
	*v = math.Float64frombits(bits.ReverseBytes64(u))
}

// text passes a text that hardly comes again.
func (c *coder) text(v *string) {
	if n := c.length(len(*v)); c.reading {
		*v = string(c.take(n))
	} else {
		c.b = append(c.b, *v...)
	}
}

// name passes a text that comes again and again. Most are one or two bytes,
// the number among the names.
func (c *coder) name(v *string) {
	if c.reading {
		c.readName(v)
		return
	}
	n := c.names.number(*v)
	c.b = binary.AppendUvarint(c.b, n)
	if n == 0 {
		c.text(v)
	}
}

func (c *coder) readName(v *string) {
	var n uint64
	c.uint(&n)
	switch {
	case n == 0:
		c.text(v)
	case n <= uint64(len(c.names.list)):
		*v = c.names.list[n-1]
	default:
		*v = ""
		c.fail()
	}
}

// length passes the length of something whose items take a byte or more.
func (c *coder) length(n int) int {
	u := uint64(n)
	c.uint(&u)
	if c.reading && u > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(u)
}

// items passes a list of anything. One without items is nil when it is read.
func items[T any](c *coder, v *[]T, item func(*T)) {
	if n := c.length(len(*v)); c.reading {
		*v = nil
		if n > 0 {
			*v = make([]T, n)
		}
	}
	for i := range *v {
		item(&(*v)[i])
	}
}

// Bounds of names: what comes when there are so many is written out.
const (
	maxNames     = 16 << 10
	maxNameBytes = 1 << 20
)

// names are texts that come again and again. They stay in memory, where the
// coder that reads them back finds them by their numbers, which begin with 1.
type names struct {
	numbers map[string]uint64
	list    []string
	size    int // bytes
}

// number returns the number of a name; 0 when there is no room for it.
func (n *names) number(s string) uint64 {
	k, ok := n.numbers[s]
	if ok {
		return k
	}
	if len(n.list) == maxNames || n.size+len(s) > maxNameBytes {
		return 0
	}
	if n.numbers == nil {
		n.numbers = map[string]uint64{}
	}
	n.list = append(n.list, s)
	n.size += len(s)
	n.numbers[s] = uint64(len(n.list))
	return uint64(len(n.list))
}

// intern returns the text as a string, one that is held if it is a name.
func (n *names) intern(text []byte) string {
	if k, ok := n.numbers[string(text)]; ok {
		return n.list[k-1]
	}
	return string(text)
}
