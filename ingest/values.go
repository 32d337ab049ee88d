package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"ephemera/ingest/flow"
)

// The values of flow log records in text. Each function reads one whole
// value; the "-" of absent ones never gets here.

// unsigned reads a decimal number of at most limit.
func unsigned(tok []byte, limit uint64) (uint64, error) {
	const noOverflow = 19 // digits that always fit in 64 bits
	digits := tok
	for len(digits) > noOverflow && digits[0] == '0' {
		digits = digits[1:]
	}
	var n uint64
	for i, c := range digits {
		digit := uint64(c - '0')
		if digit > 9 || i == noOverflow {
			return 0, outOfRange(tok)
		}
		n = n*10 + digit
	}
	if n > limit {
		return 0, outOfRange(tok)
	}
	return n, nil
}

// outOfRange is the error for tok, unless something in it is no digit.
func outOfRange(tok []byte) error {
	for _, c := range tok {
		if c < '0' || c > '9' {
			return fmt.Errorf("%q is not a number", clip(tok))
		}
	}
	return fmt.Errorf("%q out of range", clip(tok))
}

// number reads a number of any value that T holds.
func number[T ~uint8 | ~uint16](tok []byte) (T, error) {
	n, err := unsigned(tok, uint64(^T(0)))
	return T(n), err
}

// count reads packets or bytes. AWS's type is a signed 64-bit integer.
func count(tok []byte) (uint64, error) { return unsigned(tok, 1<<63-1) }

// Times beyond this many seconds, the year 5138, are milliseconds: exports
// and conversions write them so. Milliseconds below it end in March 1973,
// before any flow log.
const maxSeconds = 100_000_000_000

func unixTime(tok []byte) (int64, error) {
	n, err := unsigned(tok, maxSeconds*1000)
	if n > maxSeconds {
		n /= 1000
	}
	return int64(n), err
}

func address(tok []byte) (flow.Addr, error) {
	if a, ok := ipv4(tok); ok {
		return a, nil
	}
	if a, ok := ipv6(tok); ok {
		return flow.AddrFrom(netip.AddrFrom16(a)), nil
	}
	return flow.Addr{}, fmt.Errorf("%q is not an address", clip(tok))
}

// ipv4 reads a dotted quad. Leading zeros are refused, because readers
// differ on whether they mean octal.
func ipv4(tok []byte) (flow.Addr, bool) {
	var addr, octet uint32
	digits, dots := 0, 0
	for _, c := range tok {
		switch {
		case c == '.' && digits > 0 && dots < 3:
			addr = addr<<8 | octet
			octet, digits = 0, 0
			dots++
		case '0' <= c && c <= '9' && (digits == 0 || octet > 0):
			octet = octet*10 + uint32(c-'0')
			digits++
			if octet > 255 {
				return flow.Addr{}, false
			}
		default:
			return flow.Addr{}, false
		}
	}
	return flow.AddrFrom4(addr<<8 | octet), dots == 3 && digits > 0
}

// ipv6 reads an address in any form of RFC 4291, section 2.2, but without a
// zone. It stands in for netip.ParseAddr, which needs a string and so costs
// an allocation for each address.
func ipv6(tok []byte) (a [16]byte, ok bool) {
	const none = -1
	n, gap := 0, none // bytes filled; where "::" stands among them
	rest := tok
	if bytes.HasPrefix(rest, []byte("::")) {
		gap, rest = 0, rest[2:]
	}
	for len(rest) > 0 {
		if v4, ok := ipv4(rest); ok && n <= 12 {
			last := v4.Netip().As4()
			n += copy(a[n:], last[:])
			break
		}
		group, length := hex16(rest)
		if length == 0 || n == 16 {
			return a, false
		}
		binary.BigEndian.PutUint16(a[n:], group)
		n += 2
		rest = rest[length:]
		switch {
		case len(rest) == 0:
		case gap == none && bytes.HasPrefix(rest, []byte("::")):
			gap, rest = n, rest[2:]
		case rest[0] == ':' && len(rest) > 1:
			rest = rest[1:]
		default:
			return a, false
		}
	}
	if gap == none || n == 16 {
		return a, gap == none && n == 16
	}
	tail := n - gap
	copy(a[16-tail:], a[gap:n])
	clear(a[gap : 16-tail])
	return a, true
}

// hex16 reads up to four hexadecimal digits and returns how many there are,
// or 0 when there are none or more.
func hex16(s []byte) (v uint16, length int) {
	for _, c := range s {
		digit, ok := hexDigit(c)
		if !ok {
			break
		}
		if length++; length > 4 {
			return 0, 0
		}
		v = v<<4 | digit
	}
	return v, length
}

func hexDigit(c byte) (uint16, bool) {
	switch letter := c | 0x20; {
	case '0' <= c && c <= '9':
		return uint16(c - '0'), true
	case 'a' <= letter && letter <= 'f':
		return uint16(letter-'a') + 10, true
	}
	return 0, false
}

func action(tok []byte) (flow.Action, error) {
	switch string(tok) {
	case "ACCEPT":
		return flow.Accept, nil
	case "REJECT":
		return flow.Reject, nil
	}
	return 0, fmt.Errorf("%q is neither ACCEPT nor REJECT", clip(tok))
}

func logStatus(tok []byte) (flow.LogStatus, error) {
	switch string(tok) {
	case "OK":
		return flow.OK, nil
	case "NODATA":
		return flow.NoData, nil
	case "SKIPDATA":
		return flow.SkipData, nil
	}
	return 0, fmt.Errorf("%q is none of OK, NODATA and SKIPDATA", clip(tok))
}

func direction(tok []byte) (flow.Direction, error) {
	switch string(tok) {
	case "ingress":
		return flow.Ingress, nil
	case "egress":
		return flow.Egress, nil
	}
	return 0, fmt.Errorf("%q is neither ingress nor egress", clip(tok))
}

// checkText refuses what no name, ID or tag in a flow log holds and what
// would harm a terminal: control characters, and bytes that are not UTF-8.
func checkText(tok []byte) error {
	for _, c := range tok {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("%q holds a control character", clip(tok))
		}
	}
	if !utf8.Valid(tok) {
		return fmt.Errorf("%q is not UTF-8", clip(tok))
	}
	return nil
}

// clip cuts text from a log to a length that an error can show.
func clip(tok []byte) string {
	const readable = 200
	if len(tok) > readable {
		return string(tok[:readable]) + "..."
	}
	return string(tok)
}
