package questions

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// interfaces numbers interface IDs from 0, in the order of their coming. The
// zero interfaces is empty.
type interfaces struct {
	names   []string
	numbers map[string]uint32

	// recent holds names by their last characters, which are the random
	// ones: it spares nearly every record the map, which costs some 25 ns.
	// Decoders give the same string for the same text, so comparing two
	// equal ones seldom looks at their characters.
	recent [4096]numbered
}

type numbered struct {
	name   string
	number uint32
}

// number returns the number of name, and whether it had one already.
func (f *interfaces) number(name string) (uint32, bool) {
	slot := &f.recent[tail(name)*hashFactor>>(64-12)]
	if slot.name == name && name != "" {
		return slot.number, true
	}
	n, known := f.numbers[name]
	if !known {
		n = uint32(len(f.names))
		if f.numbers == nil {
			f.numbers = map[string]uint32{}
		}
		f.numbers[name] = n
		f.names = append(f.names, name)
	}
	*slot = numbered{name, n}
	return n, known
}

// tail returns the last eight bytes of s, which shorter strings share a value
// for.
func tail(s string) uint64 {
	if len(s) < 8 {
		return 0
	}
	s = s[len(s)-8:]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// ranking ranks the names as they are written: an ID that a record does not
// have is "-".
func (f *interfaces) ranking() ranking {
	shown := slices.Clone(f.names)
	for i, name := range shown {
		shown[i] = cmp.Or(name, "-")
	}
	return rank(shown)
}

// readSubnets reads the file of subnets: the subnet ID by interface ID.
func readSubnets(name string) (map[string]string, error) {
	if name == "" {
		return nil, errors.New("no file of subnets; give a CSV file of interface_id,subnet_id")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	subnets, err := parseSubnets(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return subnets, nil
}

func parseSubnets(r io.Reader) (map[string]string, error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = 2
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("header line: %w", err)
	}
	if header[0] != "interface_id" || header[1] != "subnet_id" {
		return nil, fmt.Errorf("header line is %q; want interface_id,subnet_id", header)
	}
	subnets := map[string]string{}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return subnets, nil
		}
		if err != nil {
			return nil, err
		}
		subnets[row[0]] = row[1]
	}
}
