package analyze

import (
	"testing"

	"ephemera/analyze/pair"
	"ephemera/ingest/flow"
)

// Totals as hosts produce them: packets and bytes to the server and to the
// client, headers included.
func TestShapes(t *testing.T) {
	for _, x := range []struct {
		name                   string
		toPackets, toBytes     uint64
		fromPackets, fromBytes uint64
		want                   pair.Shape
	}{
		{"Linux downloads 9,000 bytes", 10, 528, 10, 9528, pair.ShapeTransfer},
		{"Linux uploads 12,613 bytes", 14, 13341, 12, 632, pair.ShapeTransfer},
		{"an empty listing", 4, 216, 3, 164, pair.ShapeTransfer},
		{"macOS downloads: longer options in its SYN", 10, 532, 10, 9528, pair.ShapeTransfer},
		{"Windows downloads: no time stamps", 10, 412, 10, 9412, pair.ShapeTransfer},
		{"Linux downloads, one SYN repeated", 11, 588, 10, 9528, pair.ShapeTransfer},
		{"a few selective acknowledgements", 42, 2240, 121, 159684, pair.ShapeTransfer},
		{"many selective acknowledgements", 34, 1908, 110, 157368, pair.ShapeLossy},
		{"a long transfer with double ones", 700, 36528, 1400, 2100000, pair.ShapeTransfer},
		{"HTTP: a request of 25 bytes", 31, 1645, 35, 42035, pair.ShapeRequest},
		{"HTTP from Windows: 120 bytes", 8, 452, 9, 5372, pair.ShapeRequest},
		{"TLS", 13, 1852, 28, 33560, pair.ShapeHandshake},
		{"TLS, a resumed session", 59, 73890, 17, 1157, pair.ShapeHandshake},
	} {
		l := &Leg{Header: flow.Tuple{Src: flow.AddrFrom4(1), Dst: flow.AddrFrom4(2)}}
		l.FromInitiator = Way{Accepted: x.toPackets, AcceptedBytes: x.toBytes}
		l.FromResponder = Way{Accepted: x.fromPackets, AcceptedBytes: x.fromBytes}
		d := &dataConn{conn: &Connection{Client: l}, fate: fate{established: true}}
		if got := shapeOf(d); got != x.want {
			to, from := payloads(l)
			t.Errorf("%s: got shape %d, want %d (payloads %d and %d)", x.name, got, x.want, to, from)
		}
	}
}
