package ingest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// gzipMember puts DEFLATE into a member of gzip that gives text.
func gzipMember(deflated, text []byte) []byte {
	b := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, deflated...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(text))
	return binary.LittleEndian.AppendUint32(b, uint32(len(text)))
}

// deflate compresses text, in several blocks if flushes says so.
func deflate(t testing.TB, text []byte, level, flushes int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for i := range flushes + 1 {
		part := text[len(text)*i/(flushes+1) : len(text)*(i+1)/(flushes+1)]
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if i < flushes {
			err = w.Flush()
		} else {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// pageLike makes bytes like those of pages: numbers that rise, few different
// ones, texts that repeat, runs, noise.
func pageLike(rnd *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+400)
	for len(b) < n {
		switch rnd.IntN(6) {
		case 0:
			b = binary.LittleEndian.AppendUint64(b, 1795370000+uint64(rnd.IntN(300)))
		case 1:
			b = append(b, bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(400))...)
		case 2:
			b = fmt.Appendf(b, "10.0.%d.%d", rnd.IntN(8), rnd.IntN(256))
		case 3:
			for range rnd.IntN(50) {
				b = append(b, byte(rnd.Uint32()))
			}
		case 4: // of values with frequencies so unlike each other that codes get long
			for range rnd.IntN(300) {
				b = append(b, byte(rnd.ExpFloat64()*rnd.ExpFloat64()*20))
			}
		case 5:
			if len(b) > 0 {
				from := rnd.IntN(len(b))
				b = append(b, b[from:min(len(b), from+rnd.IntN(300))]...)
			}
		}
	}
	return b[:n]
}

// TestInflate reads what the standard library writes, and parquet-go's gzip.
func TestInflate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(31, 32))
	var f inflater
	for i := range 500 {
		text := pageLike(rnd, rnd.IntN(1<<rnd.IntN(18)))
		level := []int{flate.HuffmanOnly, 0, 1, 3, 6, 9}[rnd.IntN(6)]
		file := gzipMember(deflate(t, text, level, rnd.IntN(3)), text)
		got := make([]byte, len(text))
		if !f.gunzip(got, file) || !bytes.Equal(got, text) {
			t.Fatalf("%d: %d bytes at level %d are not read", i, len(text), level)
		}
		for _, size := range []int{len(text) - 1, len(text) + 1} {
			if size >= 0 && f.gunzip(make([]byte, size), file) {
				t.Fatalf("%d: %d bytes are read as %d", i, len(text), size)
			}
		}
		if f.gunzip(got, file[:len(file)-1-rnd.IntN(len(file)-1)]) {
			t.Fatalf("%d: a cut member is read", i)
		}
		file[rnd.IntN(len(file)-8)+8]++
		if f.gunzip(got, file) && !bytes.Equal(got, text) {
			t.Fatalf("%d: a damaged member is read", i)
		}
	}
}

// TestInflateOddities reads by hand what compressors do not write.
func TestInflateOddities(t *testing.T) {
	for _, test := range []struct {
		name     string
		deflated []byte
		size     int
		want     bool
	}{
		{"nothing in a fixed block", []byte{3, 0}, 0, true},
		{"nothing at all", nil, 0, false},
		{"no such block", []byte{7, 0}, 0, false},
		{"stored", []byte{1, 2, 0, 0xfd, 0xff, 0, 0}, 2, true},
		{"stored, of another length", []byte{1, 2, 0, 0xfc, 0xff, 0, 0}, 2, false},
		{"stored, cut short", []byte{1, 2, 0, 0xfd, 0xff, 0}, 2, false},
		{"bytes behind the last block", []byte{3, 0, 0}, 0, false},
		{"a copy from before the beginning", []byte{3, 2, 0}, 3, false},
	} {
		var f inflater
		if got := f.gunzip(make([]byte, test.size), gzipMember(test.deflated, make([]byte, test.size))); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// Codes of all lengths and of the most uneven distributions fit the tables.
func TestInflateTables(t *testing.T) {
	rnd := rand.New(rand.NewPCG(33, 34))
	for range 4000 {
		n := 2 + rnd.IntN(maxLiterals-3)
		lengths := []uint8{1, 1} // of a complete code; splitting one keeps it so
		for tries := 0; len(lengths) < n && tries < 10*n; tries++ {
			i := rnd.IntN(len(lengths))
			if rnd.IntN(3) > 0 {
				i = len(lengths) - 1
			}
			if lengths[i] < maxCodeBits {
				lengths[i]++
				lengths = append(lengths, lengths[i])
			}
		}
		rnd.Shuffle(len(lengths), func(i, k int) { lengths[i], lengths[k] = lengths[k], lengths[i] })
		var literals [literalEntries]uint32
		if !makeTable(literals[:], literalBits, lengths, &lengthMeanings) {
			t.Fatalf("a complete code is refused: %v", lengths)
		}
		checkTable(t, literals[:], literalBits, lengths)
		if len(lengths) <= maxDistances-2 {
			var distances [distanceEntries]uint32
			makeTable(distances[:], distanceBits, lengths, &lengthMeanings)
			checkTable(t, distances[:], distanceBits, lengths)
		}
		i := rnd.IntN(len(lengths))
		lengths[i]--
		if lengths[i] > 0 && makeTable(literals[:], literalBits, lengths, &lengthMeanings) {
			t.Fatalf("a code of too many symbols is taken: %v", lengths)
		}
	}
}

// checkTable looks every code up, as RFC 1951, section 3.2.2, makes it.
func checkTable(t *testing.T, table []uint32, width int, lengths []uint8) {
	t.Helper()
	code := 0
	for n := 1; n <= maxCodeBits; n++ {
		code <<= 1
		for symbol, length := range lengths {
			if int(length) != n {
				continue
			}
			next := uint32(0) // bits as they come
			for k := range n {
				next |= uint32(code>>(n-1-k)&1) << k
			}
			e, taken := table[next&(1<<width-1)], 0
			if e&entryTable != 0 {
				e, taken = table[e>>16+next>>width&(1<<(e>>8&15)-1)], width
			}
			if int(e>>16) != symbol || int(e&0xff)+taken != n {
				t.Fatalf("code %0*b: got symbol %d of %d bits, want %d of %v", n, code, e>>16, int(e&0xff)+taken, symbol, lengths)
			}
			code++
		}
	}
}

// FuzzInflate compares with the standard library: what is taken as right is
// so, and gives the same.
func FuzzInflate(f *testing.F) {
	rnd := rand.New(rand.NewPCG(35, 36))
	for i := range 12 {
		text := pageLike(rnd, rnd.IntN(2000))
		f.Add(deflate(f, text, i%10, i%3), uint16(len(text)))
	}
	f.Fuzz(func(t *testing.T, deflated []byte, size uint16) {
		checkInflate(t, deflated, int(size))
	})
}

func checkInflate(t *testing.T, deflated []byte, size int) {
	t.Helper()
	src := bytes.NewReader(deflated)
	r := flate.NewReader(src)
	want, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	right := err == nil && len(want) == size && src.Len() == 0
	if right { // to the end of the last block
		n, err := r.Read(make([]byte, 1))
		right = n == 0 && err == io.EOF
	}
	var i inflater
	got := make([]byte, size)
	i.src = deflated
	if ok := i.inflate(got); ok != right || ok && !bytes.Equal(got, want) {
		t.Fatalf("%x: got %v, want %v\n%x\n%x", deflated, ok, right, got, want)
	}
}

// TestInflateHostile changes bytes of what is right.
func TestInflateHostile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(37, 38))
	for range 1000 {
		text := pageLike(rnd, rnd.IntN(3000))
		file := deflate(t, text, []int{-2, 1, 5, 9}[rnd.IntN(4)], rnd.IntN(2))
		for range 4 {
			damaged := slices.Clone(file)
			for range 1 + rnd.IntN(2) {
				damaged[min(rnd.IntN(len(damaged)), rnd.IntN(len(damaged)))] ^= 1 << rnd.IntN(8)
			}
			checkInflate(t, damaged, len(text))
		}
	}
}

func BenchmarkInflate(b *testing.B) {
	file := parquetGzip(b, 1<<20)
	text := make([]byte, 1<<20)
	var f inflater
	b.Run("memory", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if !f.gunzip(text, file) {
				b.Fatal("not read")
			}
		}
	})
	b.Run("stream", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		var p pageBuffers
		for b.Loop() {
			if n, err := p.gunzipStream(text, file); n != len(text) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

// parquetGzip is a page like those of ports, with two bytes each.
func parquetGzip(b *testing.B, n int) []byte {
	rnd := rand.New(rand.NewPCG(39, 40))
	text := pageLike(rnd, n)
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
