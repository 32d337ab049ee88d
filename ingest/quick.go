package ingest

import (
	"encoding/binary"
	"math/bits"

	"ephemera/ingest/flow"
)

// The quick way to read a line: in place and in one pass, eight bytes at a
// time, without looking for the line's end first. It knows what lines look
// like as AWS writes them, one blank between fields and a line feed behind.
// Where it sees anything else it gives up and has changed nothing: then
// textDecoder.line reads the line, which knows everything and words the
// errors. So whatever is read here must be read there as the same.
//
// A value costs about as much as a branch that was guessed wrong, so the code
// branches on what nearly all lines have in common only, and never on how
// long a number or an address is. On the other hand, what follows has to wait
// for a length that is computed, and not for one that is guessed: where there
// is but one usual length, as of a time or an action, the code branches on it.

// A window is the text from the beginning of a line on. What lies behind the
// text is in it, too, so that eight bytes can be loaded anywhere in front of
// it without asking how many are left.
type window [windowSize]byte

// windowSize bounds the lines that are read quickly. Those of 29 fields have
// 300 bytes.
const windowSize = 2048

// farthest is where the last value may begin that is read from a window: no
// value that is read without a loop looks at more bytes behind it.
const farthest = windowSize - 128

// A row is a record that is being read: its values by field. Values of fields
// that are not in the plan stay zero.
type row struct {
	has   flow.FieldSet
	nums  [rowFields]uint64
	addrs [rowFields]flow.Addr
	names [rowFields]string
}

// rowFields is a power of two above all fields, so that a field is an index
// after masking, without a check.
const rowFields = 64

// noField stands for fields that flow does not know, and for those that are
// passed over.
const noField flow.Field = rowFields - 1

const _ = uint(noField) - uint(flow.NumFields) // noField is none of them

// quickColumn is how one column is read quickly.
type quickColumn struct {
	read  quickly
	field flow.Field
	limit uint64 // of a number
	name  string // of an extra field
}

type quickly uint8

const (
	aWord   quickly = iota // passed over
	aDigit                 // or, rarely, a number up to limit
	aNumber                // up to limit
	aTime                  // in Unix seconds
	anAddress
	anAction
	aStatus
	aDirection
	aName   // any text
	anExtra // any text for Record.Extra, of a field that flow knows
	unknown // the same, of a field that it does not know
)

// quickRecord reads the line at the beginning of w, of which the first have
// bytes are text, into r. It returns the length of the line with its end, or
// 0 where textDecoder.line has to read it; then r is as it was.
func (d *textDecoder) quickRecord(r *flow.Record, w *window, have int) int {
	at := d.quickRow(w)
	switch {
	case at == 0:
		return 0
	case w[at] == '\n':
		at++
	case w[at] == '\r' && w[at+1] == '\n':
		at += 2
	default:
		return 0
	}
	if int(at) > have {
		return 0 // the end was in what lies behind the text
	}
	p := d.plan
	if p.needed&^p.row.has != 0 && p.row.status() == flow.OK {
		return 0
	}
	d.fill(r)
	return int(at)
}

func (v *row) status() flow.LogStatus { return flow.LogStatus(v.nums[flow.FieldLogStatus]) }

// quickRow reads the columns of the plan into its row. It returns where the
// last of them ends, which is at most farthest, or 0.
func (d *textDecoder) quickRow(w *window) uint {
	d.kept = 0
	v := &d.plan.row
	v.has = d.plan.fields
	at := uint(0)
	if w[4] == '-' && w[10] == 'T' {
		if at = eventTimeLength; w[at-1] != ' ' || !isEventTime(w[:at-1]) {
			return 0
		}
	}
	columns := d.plan.quick
	for i := range columns {
		c := &columns[i]
		f := c.field % rowFields
		if at > farthest {
			return 0
		}
		length := uint(0)
		switch c.read {
		case aWord:
			length = w.wordEnd(at) - at
		case aDigit:
			if v.nums[f] = uint64(w[at] - '0'); v.nums[f] <= 9 && w[at+1] == ' ' {
				length = 1
			}
		case aNumber:
			values := digits(w.eight(at))
			if others := noDigits(values); others != 0 {
				n := bytesBefore(others)
				if v.nums[f] = decimal(values << ((64 - 8*n) % 64)); v.nums[f] <= c.limit {
					length = n
				}
			}
		case aTime:
			values, last := digits(w.eight(at)), digits(w.eight(at+2))
			v.nums[f] = decimal(values)*100 + last>>48&15*10 + last>>56
			if noDigits(values)|noDigits(last) == 0 && w[at+10] <= ' ' {
				length = 10
			}
		case anAddress:
			var a uint32
			a, length = quad((*[80]byte)(w[at:]))
			v.addrs[f] = flow.AddrFrom4(a)
		case anAction:
			if v.nums[f] = quickAction(w.eight(at)); v.nums[f] != 0 {
				length = uint(len("ACCEPT"))
			}
		case aStatus:
			if v.nums[f] = uint64(flow.OK); w[at] == 'O' && w[at+1] == 'K' {
				length = uint(len("OK"))
			}
		case aDirection:
			v.nums[f], length = quickDirection(w.eight(at))
		case aName:
			length = d.quickName(w, at, f)
		case anExtra:
			if length = d.quickName(w, at, f); length > 0 {
				d.keepExtra(c.name, v.names[f])
			}
		}
		if length == 0 {
			if length = d.rareValue(c, w, at); length == 0 {
				return 0
			}
		}
		if at += length; at > farthest {
			return 0
		}
		if w[at] != ' ' {
			if i < len(columns)-1 {
				return 0
			}
			return at
		}
		at++
	}
	return 0 // a blank behind the last column
}

// quickName reads a word of text. Most names are those of the line before.
func (d *textDecoder) quickName(w *window, at uint, f flow.Field) (length uint) {
	v := &d.plan.row
	last := v.names[f%rowFields]
	if end := at + uint(len(last)); end < windowSize && w[end] <= ' ' && string(w[at:end]) == last {
		return uint(len(last))
	}
	end := w.wordEnd(at)
	if end > farthest || end-at <= 1 {
		return 0
	}
	s, err := d.names.text(w[at:end])
	if err != nil {
		return 0
	}
	v.names[f%rowFields] = s
	return end - at
}

// rareValue reads a word that is right, but not of the usual kind: "-", a
// large number, an IPv6 address. It returns the length of the word, or 0.
func (d *textDecoder) rareValue(c *quickColumn, w *window, at uint) uint {
	end := w.wordEnd(at)
	if end > farthest || end == at {
		return 0
	}
	v, f, tok := &d.plan.row, c.field%rowFields, w[at:end]
	if len(tok) == 1 && tok[0] == '-' {
		v.nums[f], v.addrs[f], v.names[f] = 0, flow.Addr{}, ""
		v.has &^= 1 << f
		return 1
	}
	var err error
	switch c.read {
	case aDigit, aNumber:
		v.nums[f], err = unsigned(tok, c.limit)
	case aTime:
		var t int64
		t, err = unixTime(tok)
		v.nums[f] = uint64(t)
	case anAddress:
		v.addrs[f], err = address(tok)
	case aStatus:
		var status flow.LogStatus
		status, err = logStatus(tok)
		v.nums[f] = uint64(status)
	case aName:
		v.names[f], err = d.names.text(tok)
	case anExtra, unknown:
		var text string
		text, err = d.names.text(tok)
		d.keepExtra(c.name, text)
	default:
		return 0
	}
	if err != nil {
		return 0
	}
	return end - at
}

// fill makes r the record in the plan's row. Fields that r lacks are zero
// already, since Has tells which are not: so only those are written that the
// plan has, and a record of another plan is cleared first. Merged is no field,
// and may be there from a digest.
func (d *textDecoder) fill(r *flow.Record) {
	p := d.plan
	v := &p.row
	if r.Has&^p.fields != 0 {
		*r = flow.Record{}
	}
	r.Has = v.has
	r.Merged = 0
	r.Version = uint8(v.nums[flow.FieldVersion])
	r.SrcPort = uint16(v.nums[flow.FieldSrcPort])
	r.DstPort = uint16(v.nums[flow.FieldDstPort])
	r.Proto = flow.Proto(v.nums[flow.FieldProtocol])
	r.TCPFlags = flow.TCPFlags(v.nums[flow.FieldTCPFlags])
	r.Action = flow.Action(v.nums[flow.FieldAction])
	r.Status = v.status()
	r.Direction = flow.Direction(v.nums[flow.FieldFlowDirection])
	r.TrafficPath = uint8(v.nums[flow.FieldTrafficPath])
	r.Packets, r.Bytes = v.nums[flow.FieldPackets], v.nums[flow.FieldBytes]
	r.Start, r.End = int64(v.nums[flow.FieldStart]), int64(v.nums[flow.FieldEnd])
	r.Src, r.Dst = v.addrs[flow.FieldSrcAddr], v.addrs[flow.FieldDstAddr]
	r.InterfaceID = v.names[flow.FieldInterfaceID]
	r.FlowLogID = d.flowLogID
	r.AccountID = v.names[flow.FieldAccountID]
	r.Extra = d.takeExtra()
	if p.fields&^shortFields == 0 {
		return
	}
	r.PktSrc, r.PktDst = v.addrs[flow.FieldPktSrcAddr], v.addrs[flow.FieldPktDstAddr]
	r.ResourceID = v.names[flow.FieldResourceID]
	r.VPCID = v.names[flow.FieldVPCID]
	r.SubnetID = v.names[flow.FieldSubnetID]
	r.InstanceID = v.names[flow.FieldInstanceID]
	r.Region = v.names[flow.FieldRegion]
	r.AZID = v.names[flow.FieldAZID]
	r.RejectReason = v.names[flow.FieldRejectReason]
}

// shortFields are those that fill writes for every plan: the default format's.
const shortFields = 1<<flow.FieldVPCID - 1

func (w *window) eight(at uint) uint64 { return binary.LittleEndian.Uint64(w[at : at+8]) }

// wordEnd returns where the word that begins at ends, which is at a blank or
// a control character, or windowSize where that is too far away.
func (w *window) wordEnd(at uint) uint {
	for at <= farthest {
		if b := blanks(w.eight(at)); b != 0 {
			return at + bytesBefore(b)
		}
		at += 8
	}
	return windowSize
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones // the highest bit of each byte
)

// digits makes each of eight characters the value of its digit.
func digits(text uint64) (values uint64) { return text ^ '0'*ones }

// noDigits has the highest bit set of each byte that is no digit's value, and
// perhaps of those behind such a byte.
func noDigits(values uint64) uint64 {
	// 0x76 takes 10 to 0x80, and 0x8a and more over the byte's end.
	return (values + 0x76*ones | values) & highs
}

// decimal is the number of eight digits, the first in the lowest byte, which
// are put together three times: to pairs, to fours, to the number.
func decimal(values uint64) uint64 {
	const low = 0xff | 0xff<<32
	pairs := values*10 + values>>8
	return (pairs&low*(100+1_000_000<<32) + pairs>>16&low*(1+10_000<<32)) >> 32
}

// blanks has the highest bit of the first byte set that is a blank or a
// control character. What it has behind that means nothing.
func blanks(text uint64) uint64 { return (text - (' '+1)*ones) &^ text & highs }

// bytesBefore is how many bytes are in front of the first highest bit.
func bytesBefore(high uint64) uint { return uint(bits.TrailingZeros64(high)) / 8 }

// quad reads the dotted quad that text begins with. The length is 0 where it
// is none as ipv4 has it.
//
// The numbers are cut out by where they end, and computed two in a word, so
// that nothing waits for their lengths.
func quad(text *[80]byte) (a uint32, length uint) {
	// A mark too many in ends is behind a byte that is neither a digit nor
	// a dot. Such a byte is an end itself, of the address at best.
	ends := bitOfEach(noDigits(digits(binary.LittleEndian.Uint64(text[:])))) |
		bitOfEach(noDigits(digits(binary.LittleEndian.Uint64(text[8:]))))<<8
	e1 := uint(bits.TrailingZeros64(ends))
	ends &= ends - 1
	e2 := uint(bits.TrailingZeros64(ends))
	ends &= ends - 1
	e3 := uint(bits.TrailingZeros64(ends))
	ends &= ends - 1
	e4 := uint(bits.TrailingZeros64(ends))

	n1, n2, n3, n4 := e1, e2-e1-1, e3-e2-1, e4-e3-1
	high := octet(text[0:4], n1) | octet(text[e1+1:e1+5], n2)<<32
	low := octet(text[e2+1:e2+5], n3) | octet(text[e3+1:e3+5], n4)<<32

	const dots = ('.' ^ '0') * lanes << 24
	const firstDot = 0xff << 24
	wrong := (high^dots)&(firstDot|firstDot<<32) | (low^dots)&firstDot

	// Numbers out of range, here in their lane, leave a highest bit.
	high, low = octets(high), octets(low)
	outside := high - (least[n1%16] | least[n2%16]<<32) | low - (least[n3%16] | least[n4%16]<<32) |
		255*lanes - high | 255*lanes - low
	if wrong|outside&(1<<31*lanes) != 0 {
		return 0, 0
	}
	return uint32(high<<24 | high>>32<<16 | low<<8 | low>>32), e4
}

const lanes = 1 | 1<<32

// least is the least number of so many digits without a leading zero, and
// for what is no length of a number, more than an octet holds.
var least = [16]uint64{256, 0, 10, 100, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256, 256}

// octet moves the n digits at the beginning of text, and the character behind
// them, to the end of four bytes.
func octet(text []byte, n uint) uint64 {
	return uint64((binary.LittleEndian.Uint32(text) ^ '0'*0x01010101) << ((24 - 8*n) % 32))
}

// octets is the number of the first three digits of each lane.
func octets(digits uint64) uint64 {
	const low = 0xff * lanes
	return digits&low*100 + digits>>8&low*10 + digits>>16&low
}

// bitOfEach gathers the highest bits of all bytes, the lowest byte's first.
func bitOfEach(high uint64) uint64 { return high * 0x0002040810204081 >> 56 }

// quickAction reads ACCEPT or REJECT, else gives 0. It does not branch: which
// of them it is can be as random as what passes by.
func quickAction(text uint64) uint64 {
	const accept = 'A' | 'C'<<8 | 'C'<<16 | 'E'<<24 | 'P'<<32 | 'T'<<40
	const reject = 'R' | 'E'<<8 | 'J'<<16 | 'E'<<24 | 'C'<<32 | 'T'<<40
	return bit(text<<16 == accept<<16)*uint64(flow.Accept) + bit(text<<16 == reject<<16)*uint64(flow.Reject)
}

// quickDirection reads ingress or egress, as quickAction.
func quickDirection(text uint64) (direction uint64, length uint) {
	const ingress = 'i' | 'n'<<8 | 'g'<<16 | 'r'<<24 | 'e'<<32 | 's'<<40 | 's'<<48
	const egress = 'e' | 'g'<<8 | 'r'<<16 | 'e'<<24 | 's'<<32 | 's'<<40
	in, out := bit(text<<8 == ingress<<8), bit(text<<16 == egress<<16)
	return in*uint64(flow.Ingress) + out*uint64(flow.Egress), uint(7*in + 6*out)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
