package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ephemera/ingest/flow"
)

// item is one element of a list that the AWS CLI printed, and where it
// stands: "NetworkAcls[3]".
type item struct {
	path string
	json json.RawMessage
}

// decode fills v and names the place of what does not fit.
func (it item) decode(v any) error {
	err := json.Unmarshal(it.json, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return it.errorf(wrong.Field, "a %s stands where a %s belongs", wrong.Value, wrong.Type.Kind())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", it.path, err)
	}
	return nil
}

// decodeNamed is decode for items that must have an ID.
func (it item) decodeNamed(v any, idField string, id *string) error {
	if err := it.decode(v); err != nil {
		return err
	}
	return it.id(idField, *id)
}

func (it item) errorf(field, format string, args ...any) error {
	return fmt.Errorf("%s.%s: %s", it.path, field, fmt.Sprintf(format, args...))
}

// document is the content of one file.
type document struct {
	items    []item
	pages    int
	complete bool // its last page has no NextToken
}

// readDocument reads a file of one or more JSON values. Each is a page
// ({"NetworkAcls": [...]}), a list of pages, or, as made by the CLI's
// --query, the bare list of items.
func readDocument(fsys fs.FS, name, key string) (document, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return document{}, err
	}
	return parseDocument(data, key)
}

func parseDocument(data []byte, key string) (document, error) {
	var doc document
	values := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	for {
		var value json.RawMessage
		err := values.Decode(&value)
		if errors.Is(err, io.EOF) && doc.pages > 0 {
			return doc, nil
		}
		if err != nil {
			return document{}, fmt.Errorf("not JSON, or cut short: %w", err)
		}
		if err := doc.addValue(value, key); err != nil {
			return document{}, err
		}
	}
}

func (d *document) addValue(value json.RawMessage, key string) error {
	d.pages++
	if value[0] != '[' {
		return d.addPage(value, key)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(value, &elements); err != nil {
		return err
	}
	if len(elements) > 0 && isPage(elements[0], key) {
		for _, e := range elements {
			if err := d.addPage(e, key); err != nil {
				return err
			}
		}
		return nil
	}
	d.addItems(elements, key)
	d.complete = true
	return nil
}

func isPage(value json.RawMessage, key string) bool {
	var keys map[string]json.RawMessage
	return json.Unmarshal(value, &keys) == nil && keys[key] != nil
}

func (d *document) addPage(value json.RawMessage, key string) error {
	var page map[string]json.RawMessage
	if err := json.Unmarshal(value, &page); err != nil || page[key] == nil {
		return fmt.Errorf("%s: the list is missing; is this the output of another call?", key)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(page[key], &elements); err != nil {
		return fmt.Errorf("%s: not a list", key)
	}
	var token string
	if page["NextToken"] != nil {
		// A token that is not text is no token.
		_ = json.Unmarshal(page["NextToken"], &token)
	}
	d.addItems(elements, key)
	d.complete = token == ""
	return nil
}

func (d *document) addItems(elements []json.RawMessage, key string) {
	for _, e := range elements {
		d.items = append(d.items, item{fmt.Sprintf("%s[%d]", key, len(d.items)), e})
	}
}

// scalar is the text of a JSON number or string; absent and null are "".
// AWS writes protocol numbers as strings, and tools that store the output
// are not always true to that. Anything else is kept as it stands, for the
// reader of the field to refuse, who knows its path.
type scalar string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scalar) UnmarshalJSON(data []byte) error {
	var text string
	switch {
	case string(data) == "null":
	case json.Unmarshal(data, &text) == nil:
		*s = scalar(text)
	default:
		*s = scalar(data)
	}
	return nil
}

// number reads a scalar between low and high; absent gives ok false.
func (it item) number(field string, s scalar, low, high int) (n int, ok bool, err error) {
	if s == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(string(s))
	if err != nil || n < low || n > high {
		return 0, false, it.errorf(field, "%q is not a number from %d to %d", string(s), low, high)
	}
	return n, true, nil
}

// protocol reads a protocol: a number, -1 for all, or a name.
func (it item) protocol(field string, s scalar) (int, error) {
	switch strings.ToLower(string(s)) {
	case "tcp":
		return int(flow.TCP), nil
	case "udp":
		return int(flow.UDP), nil
	case "icmp":
		return int(flow.ICMP), nil
	case "icmpv6":
		return int(flow.ICMPv6), nil
	case "all":
		return AllProtocols, nil
	}
	n, ok, err := it.number(field, s, AllProtocols, 255)
	if err == nil && !ok {
		err = it.errorf(field, "missing")
	}
	return n, err
}

// ports reads a range of ports. Absent ends, and the -1 that stands for all,
// give ok false.
func (it item) ports(fromField string, from scalar, toField string, to scalar) (r PortRange, ok bool, err error) {
	low, hasLow, err := it.number(fromField, from, -1, 65535)
	if err != nil {
		return PortRange{}, false, err
	}
	high, hasHigh, err := it.number(toField, to, -1, 65535)
	if err != nil {
		return PortRange{}, false, err
	}
	switch {
	case !hasLow && !hasHigh, low == -1:
		return PortRange{}, false, nil
	case !hasLow:
		return PortRange{}, false, it.errorf(fromField, "missing")
	case !hasHigh:
		return PortRange{}, false, it.errorf(toField, "missing")
	case low > high:
		return PortRange{}, false, it.errorf(toField, "%d is below %d, the first port", high, low)
	}
	return PortRange{uint16(low), uint16(high)}, true, nil
}

// icmp reads an ICMP type or code; absent is -1, any.
func (it item) icmp(field string, s scalar) (int, error) {
	n, ok, err := it.number(field, s, -1, 255)
	if !ok {
		n = -1
	}
	return n, err
}

// prefix reads a CIDR block and clears its host bits, as AWS does.
func (it item) prefix(field, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, it.errorf(field, "missing")
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, it.errorf(field, "%q is not a CIDR block", s)
	}
	return p.Masked(), nil
}

// addrs reads addresses, passing over empty ones and repetitions.
func (it item) addrs(field string, texts ...string) ([]flow.Addr, error) {
	var addrs []flow.Addr
	for _, s := range texts {
		if s == "" {
			continue
		}
		a, err := flow.ParseAddr(s)
		if err != nil {
			return nil, it.errorf(field, "%q is not an address", s)
		}
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// id refuses an item without its ID.
func (it item) id(field, id string) error {
	if id == "" {
		return it.errorf(field, "missing")
	}
	return nil
}

type tag struct{ Key, Value string }

func nameTag(tags []tag) string {
	for _, t := range tags {
		if t.Key == "Name" {
			return t.Value
		}
	}
	return ""
}
