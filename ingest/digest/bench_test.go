package digest_test

import (
	"io"
	"math/rand/v2"
	"testing"

	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// BenchmarkWrite writes a digest of a hundred thousand records of twenty
// thousand connections. The metric is the time of a record.
func BenchmarkWrite(b *testing.B) {
	rng := rand.New(rand.NewPCG(8, 1))
	var s steps
	for range 20_000 {
		addr := func(n int) flow.Addr {
			a, _ := flow.ParseAddr("10.0." + string('0'+byte(rng.IntN(n))) + "." + string('0'+byte(rng.IntN(10))))
			return a
		}
		r := flow.Record{
			Has: flow.AllFields, SrcPort: uint16(1024 + rng.IntN(60000)), DstPort: 443, Proto: flow.TCP, Action: flow.Accept,
			InterfaceID: "eni-" + string('a'+byte(rng.IntN(20))), SubnetID: "subnet-1", Src: addr(2), Dst: addr(9), Start: 1795370000,
		}
		for range 5 {
			r.Start += 60
			r.End, r.Packets, r.Bytes = r.Start+rng.Int64N(60), rng.Uint64N(100), rng.Uint64N(100_000)
			s.records = append(s.records, r)
		}
	}
	rng.Shuffle(len(s.records), func(i, j int) { s.records[i], s.records[j] = s.records[j], s.records[i] })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := digest.Write(io.Discard, s.stream); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(s.records)), "ns/record")
}
