package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// TestHybrid reads what parquet-go writes, some values at a time.
func TestHybrid(t *testing.T) {
	rnd := rand.New(rand.NewPCG(19, 20))
	for range 300 {
		width := rnd.IntN(33)
		values := make([]int32, rnd.IntN(2000))
		for i := range values {
			if i > 0 && rnd.IntN(3) > 0 {
				values[i] = values[i-1]
			} else {
				values[i] = int32(rnd.Uint32() & uint32(uint64(1)<<width-1))
			}
		}
		page, err := parquet.RLEDictionary.EncodeInt32(nil, values)
		if err != nil {
			t.Fatal(err)
		}
		var h hybrid
		h.reset(page[1:], page[0])
		for at := 0; at < len(values); {
			out := make([]uint32, min(1+rnd.IntN(300), len(values)-at))
			if err := h.fill(out); err != nil {
				t.Fatalf("%d values of %d bits: %v", len(values), page[0], err)
			}
			for i := range out {
				if out[i] != uint32(values[at+i]) {
					t.Fatalf("value %d of %d bits: got %d, want %d", at+i, page[0], out[i], values[at+i])
				}
			}
			at += len(out)
		}
	}
}

// TestBitsAt compares with a loop over bits.
func TestBitsAt(t *testing.T) {
	rnd := rand.New(rand.NewPCG(21, 22))
	for range 20_000 {
		data := make([]byte, rnd.IntN(24))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		pos, width := rnd.Uint64N(200), uint8(rnd.IntN(65))
		var want uint64
		for k := range uint64(width) {
			if i := (pos + k) / 8; i < uint64(len(data)) {
				want |= uint64(data[i]>>((pos+k)%8)&1) << k
			}
		}
		if got := bitsAt(data, pos, width); got != want {
			t.Fatalf("bits %d to %d of %x: got %x, want %x", pos, pos+uint64(width), data, got, want)
		}
	}
}

// TestDelta reads what parquet-go writes, at all widths, and finds the end.
func TestDelta(t *testing.T) {
	rnd := rand.New(rand.NewPCG(23, 24))
	for range 400 {
		values := make([]int64, rnd.IntN(700))
		width := rnd.IntN(64)
		for i := range values {
			values[i] = rnd.Int64() >> width
			if rnd.IntN(2) == 0 {
				values[i] = -values[i]
			}
		}
		page, err := parquet.DeltaBinaryPacked.EncodeInt64(nil, values)
		if err != nil {
			t.Fatal(err)
		}
		var d delta
		if err := d.reset(append(page, "rest"...)); err != nil {
			t.Fatal(err)
		}
		if rest, err := d.end(); err != nil || string(rest) != "rest" {
			t.Fatalf("%d values: behind them is %q, %v", len(values), rest, err)
		}
		for i, want := range values {
			if got, err := d.next(); err != nil || got != want {
				t.Fatalf("value %d: got %d, %v, want %d", i, got, err, want)
			}
		}
		if _, err := d.next(); err == nil {
			t.Fatal("a value behind the last")
		}
	}
}

// TestDeltaDamage checks that sizes which cannot be are errors.
func TestDeltaDamage(t *testing.T) {
	for _, data := range [][]byte{
		nil, {0x80}, {0x80, 1}, {0x80, 1, 4, 5}, // ends early
		{0, 4, 5, 0}, {0x80, 1, 0, 5, 0}, {0x80, 1, 3, 5, 0}, {8, 8, 5, 0}, // sizes of blocks
		{0x80, 1, 4, 5, 0, 0}, {0x80, 1, 4, 5, 0, 0, 65, 0, 0, 0}, {0x80, 1, 4, 5, 0, 0, 8, 0, 0, 0, 1}, // contents
	} {
		var d delta
		err := d.reset(data)
		for i := 0; i < 5 && err == nil; i++ {
			_, err = d.next()
		}
		if err == nil {
			t.Errorf("% x gives no error", data)
		}
		if d.reset(data) == nil {
			if _, err := d.end(); err == nil {
				t.Errorf("% x has an end", data)
			}
		}
	}
}

// TestPageValues checks encodings that files rarely have.
func TestPageValues(t *testing.T) {
	leafOf := func(typ format.Type, length int) *leaf { return &leaf{typ: typ, length: length} }
	var v pageValues
	ints := func(n int) string {
		out := make([]int64, n)
		err := v.integers(out)
		return fmt.Sprint(out, err)
	}
	for _, test := range []struct {
		name     string
		encoding format.Encoding
		leaf     *leaf
		data     []byte
		want     string
	}{
		{"Booleans", format.Plain, leafOf(format.Boolean, 0), []byte{0b101, 0}, "[1 0 1] <nil>"},
		{"Booleans in runs", format.RLE, leafOf(format.Boolean, 0), []byte{2, 0, 0, 0, 6, 1}, "[1 1 1] <nil>"},
		{"INT96", format.Plain, leafOf(format.Int96, 0), slices.Repeat(binary.LittleEndian.AppendUint32(
			binary.LittleEndian.AppendUint64(nil, 3_999_999_999), 2440589), 3), "[86403 86403 86403] <nil>"},
		{"split INT32", format.ByteStreamSplit, leafOf(format.Int32, 0), []byte{1, 2, 0xfe, 0, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff}, "[1 2 -2] <nil>"},
		{"too few", format.Plain, leafOf(format.Int32, 0), make([]byte, 11), "[0 0 0] a page ends before its last value"},
		{"too few Booleans", format.Plain, leafOf(format.Boolean, 0), nil, "[0 0 0] a page ends before its last value"},
		{"too few in runs", format.RLE, leafOf(format.Boolean, 0), []byte{2, 0, 0, 0, 4, 1}, "[1 1 0] a page ends before its last value"},
		{"too few split", format.ByteStreamSplit, leafOf(format.Int64, 0), make([]byte, 16), "[0 0 0] a page ends before its last value"},
	} {
		if err := v.reset(test.encoding, test.leaf, test.data); err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := ints(3); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if err := v.reset(format.ByteStreamSplit, leafOf(format.FixedLenByteArray, 2), []byte("acbd")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ab", "cd"} {
		if got, err := v.bytes(); string(got) != want || err != nil {
			t.Errorf("split text: got %q, %v, want %q", got, err, want)
		}
	}
	if got, err := v.bytes(); err == nil {
		t.Errorf("split text: %q behind the last", got)
	}
	for _, test := range []struct {
		encoding format.Encoding
		typ      format.Type
	}{
		{format.RLE, format.Int32}, {format.ByteStreamSplit, format.ByteArray}, {format.DeltaBinaryPacked, format.ByteArray},
		{format.DeltaByteArray, format.Int64}, {format.BitPacked, format.Int32}, {99, format.ByteArray},
	} {
		if err := v.reset(test.encoding, leafOf(test.typ, 0), []byte{1, 2, 3, 4, 5}); err == nil {
			t.Errorf("%s of %s gives no error", test.encoding, test.typ)
		}
	}
}

// TestDeltaTexts checks that a value cannot grow without bound.
func TestDeltaTexts(t *testing.T) {
	number := func(n ...int64) []byte {
		b, err := parquet.DeltaBinaryPacked.EncodeInt64(nil, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, test := range []struct {
		name             string
		prefixes, length []int64
		text             string
		want             string
	}{
		{"shared", []int64{0, 4, 5}, []int64{5, 1, 1}, "eni-123", "eni-1 eni-2 eni-23"},
		{"negative prefix", []int64{0, -1}, []int64{1, 1}, "ab", "a"},
		{"prefix too long", []int64{0, 2}, []int64{1, 1}, "ab", "a"},
		{"length too long", []int64{0, 0}, []int64{1, 9}, "ab", "a"},
		{"negative length", []int64{0, 0}, []int64{1, -9}, "ab", "a"},
		{"too long", []int64{0, 40_000}, []int64{40_000, 40_000}, string(bytes.Repeat([]byte("x"), 80_000)), string(bytes.Repeat([]byte("x"), 40_000))},
	} {
		var v pageValues
		data := slices.Concat(number(test.prefixes...), number(test.length...), []byte(test.text))
		if err := v.reset(format.DeltaByteArray, &leaf{typ: format.ByteArray}, data); err != nil {
			t.Fatal(test.name, err)
		}
		var got []byte
		for b, err := v.bytes(); err == nil; b, err = v.bytes() {
			if got != nil {
				got = append(got, ' ')
			}
			got = append(got, b...)
		}
		if string(got) != test.want {
			t.Errorf("%s: got %q, want %q", test.name, clip(got), clip([]byte(test.want)))
		}
	}
}

// TestLZ4Frames reads the codec LZ4 in the ways in which it was written.
func TestLZ4Frames(t *testing.T) {
	text := bytes.Repeat([]byte("10.0.1.5 "), 100)
	block := func(b []byte) []byte {
		out := make([]byte, lz4.CompressBlockBound(len(b)))
		n, err := lz4.CompressBlock(b, out, nil)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		return out[:n]
	}
	frame := func(b []byte) []byte {
		c := block(b)
		head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
		return append(binary.BigEndian.AppendUint32(head, uint32(len(c))), c...)
	}
	for name, src := range map[string][]byte{
		"one block":      block(text),
		"one frame":      frame(text),
		"several frames": slices.Concat(frame(text[:400]), frame(text[400:])),
	} {
		var p pageBuffers
		got, err := p.expand(format.Lz4, nil, src, len(text))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		if _, err := p.expand(format.Lz4, nil, src[:len(src)-3], len(text)); err == nil {
			t.Errorf("%s, cut short: no error", name)
		}
		if _, err := p.expand(format.Lz4, nil, src, len(text)-1); err == nil {
			t.Errorf("%s, too long: no error", name)
		}
	}
}
