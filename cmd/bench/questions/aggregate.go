package questions

import (
	"context"
	"fmt"
	"io"
	"math/bits"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// aggregate groups the records and prints what the groups come to.
func aggregate(ctx context.Context, source ingest.Source, stdout io.Writer) error {
	var seen interfaces
	groups := newFlows()
	for r, err := range source.Records(ctx) {
		if err != nil {
			return err
		}
		if r.Status == flow.OK {
			n, _ := seen.number(r.InterfaceID)
			groups.add(n, r)
		}
	}
	_, err := fmt.Fprintln(stdout, summarize(groups))
	return err
}

// summary is what all groups come to.
type summary struct {
	rows                    int
	records, packets, bytes uint64
	checksum                uint64
}

func summarize(groups *flows) summary {
	s := summary{rows: groups.len()}
	for k, sum := range groups.all() {
		s.records += sum.records
		s.packets += sum.packets
		s.bytes += sum.bytes
		s.checksum = (s.checksum + checksum(k, sum)) % modulus
	}
	return s
}

func (s summary) String() string {
	return fmt.Sprintf("rows %d records %d packets %d bytes %d checksum %d",
		s.rows, s.records, s.packets, s.bytes, s.checksum)
}

// modulus is a prime, and small enough to add up seven remainders.
const modulus = 1<<61 - 1

// checksum is one group's part of the checksum; see the package comment. It
// takes start <= end and no times before 1970.
func checksum(k key16, s *sums) uint64 {
	ports := uint64(k.srcPort())<<16 + uint64(k.dstPort()) + 1
	return (product(s.records, s.packets) +
		product(s.packets, s.bytes) +
		product(uint64(s.start), s.records) +
		product(uint64(s.end-s.start+1), ports*(uint64(k.protocol())+1))) % modulus
}

// product multiplies modulo modulus.
func product(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return bits.Rem64(hi, lo, modulus)
}
