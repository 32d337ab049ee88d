package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

// Pages and dictionaries of flow logs take a megabyte as a rule: that is
// where writers end them.
const (
	maxPage       = 32 << 20 // bytes, compressed or not
	maxDictionary = 8 << 20
	maxPageHeader = 1 << 20
	// maxHeld bounds the pages and dictionaries of all columns together.
	maxHeld = 256 << 20
)

// chunkBuffer is how much of a column is read at once: a request to S3 costs
// as much time as some hundred kilobytes.
const chunkBuffer = 256 << 10

// chunkReader reads the bytes of one column chunk from its beginning to its
// end.
type chunkReader struct {
	src      *tailReader
	off, end int64 // what has not been read from src
	buf      []byte
	start    int // buf[start:] has been read and not handed out
}

func (c *chunkReader) reset(src *tailReader, off, end int64) {
	c.src, c.off, c.end = src, off, end
	c.buf, c.start = c.buf[:0], 0
}

// left is how many bytes follow.
func (c *chunkReader) left() int64 { return c.end - c.off + int64(len(c.buf)-c.start) }

// peek returns at least n of the following bytes, or all that follow. They
// are valid until the next call.
func (c *chunkReader) peek(n int) ([]byte, error) {
	if have := len(c.buf) - c.start; have < n && c.off < c.end {
		c.buf = c.buf[:copy(c.buf, c.buf[c.start:])]
		c.start = 0
		if size := max(n, int(min(chunkBuffer, c.left()))); cap(c.buf) < size {
			c.buf = append(make([]byte, 0, size), c.buf...)
		}
		room := c.buf[have:cap(c.buf)]
		room = room[:min(int64(len(room)), c.end-c.off)]
		if err := c.src.readAt(room, c.off); err != nil {
			return nil, err
		}
		c.off += int64(len(room))
		c.buf = c.buf[:have+len(room)]
	}
	return c.buf[c.start:], nil
}

// take returns the next n bytes. They are valid until the next call.
func (c *chunkReader) take(n int) ([]byte, error) {
	if int64(n) > c.left() {
		return nil, damaged("a page of %d bytes where %d are left", n, c.left())
	}
	b, err := c.peek(n)
	if err != nil {
		return nil, err
	}
	c.start += n
	return b[:n], nil
}

// header reads the header of the next page.
func (c *chunkReader) header() (*format.PageHeader, error) {
	const usual = 1 << 10
	for size := usual; ; size *= 8 {
		b, err := c.peek(min(size, maxPageHeader))
		if err != nil {
			return nil, err
		}
		n, err := thriftSize(b, 0)
		if err == errThriftShort && c.left() > int64(len(b)) && size < maxPageHeader {
			continue
		}
		if err != nil {
			return nil, damaged("page header: %w", err)
		}
		h := new(format.PageHeader)
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), b[:n], h); err != nil {
			return nil, damaged("page header: %w", err)
		}
		c.start += n
		return h, checkHeader(h)
	}
}

// checkHeader refuses sizes that cannot be.
func checkHeader(h *format.PageHeader) error {
	size := int32(maxPage)
	var values int32
	var known bool
	switch h.Type {
	case format.DataPage:
		known, values = h.DataPageHeader.Valid, h.DataPageHeader.V.NumValues
	case format.DataPageV2:
		p := &h.DataPageHeaderV2.V
		known, values = h.DataPageHeaderV2.Valid, p.NumValues
		levels := int64(p.RepetitionLevelsByteLength) + int64(p.DefinitionLevelsByteLength)
		if p.RepetitionLevelsByteLength < 0 || p.DefinitionLevelsByteLength < 0 ||
			levels > int64(min(h.CompressedPageSize, h.UncompressedPageSize)) {
			return damaged("a page has levels of %d bytes", levels)
		}
	case format.DictionaryPage:
		size = maxDictionary
		known, values = h.DictionaryPageHeader.Valid, h.DictionaryPageHeader.V.NumValues
	default:
		known = true
	}
	if !known || values < 0 {
		return damaged("a page header of type %s does not tell its number of values", h.Type)
	}
	if uint32(h.CompressedPageSize) > uint32(size) || uint32(h.UncompressedPageSize) > uint32(size) {
		return damaged("a page claims %d bytes, %d compressed, where %d are the most that is read",
			h.UncompressedPageSize, h.CompressedPageSize, size)
	}
	return nil
}

// body reads the page behind its header, as stored, and checks it when the
// header has a checksum.
func (c *chunkReader) body(h *format.PageHeader) ([]byte, error) {
	b, err := c.take(int(h.CompressedPageSize))
	if err != nil {
		return nil, err
	}
	if h.CRC != 0 && crc32.ChecksumIEEE(b) != uint32(h.CRC) {
		return nil, damaged("the checksum of a page of %d bytes is wrong", len(b))
	}
	return b, nil
}

// pageBuffers holds what decompressing needs. The columns of a decoder share
// it.
//
// The codecs are used directly, not as package compress of parquet-go wraps
// them: that lets a page grow to whatever its content expands to, beyond what
// the header says, and tries a damaged LZ4 page with ever larger buffers.
type pageBuffers struct {
	input  bytes.Reader
	gzip   *gzip.Reader
	zstd   *zstd.Decoder
	brotli *brotli.Reader
	held   int64 // bytes of the pages and dictionaries of all columns
}

// expand decompresses src, which gives size bytes, into dst, which may move.
func (p *pageBuffers) expand(codec format.CompressionCodec, dst, src []byte, size int) ([]byte, error) {
	if len(src) == 0 && size == 0 {
		return dst[:0], nil
	}
	if codec == format.Uncompressed {
		if len(src) != size {
			return dst, damaged("a page of %d bytes claims %d", len(src), size)
		}
		return append(dst[:0], src...), nil
	}
	if codec == format.Snappy {
		// An early refusal, so that no room is made for nothing: a copy of
		// three bytes gives 64 at the most.
		if n, err := snappy.DecodedLen(src); err != nil || n != size || n > 32*len(src) {
			return dst, damaged("a page of %d bytes in Snappy claims %d", len(src), size)
		}
	}
	if cap(dst) < size {
		dst = make([]byte, size)
	}
	dst = dst[:size]
	n, err := p.decompress(codec, dst[:size:size], src)
	if err != nil {
		return dst, err
	}
	if n != size {
		return dst, damaged("a page gives %d bytes where its header says %d", n, size)
	}
	return dst, nil
}

// decompress fills dst. It returns the number of bytes, or an error if there
// are more.
func (p *pageBuffers) decompress(codec format.CompressionCodec, dst, src []byte) (int, error) {
	var n int
	var err error
	switch codec {
	case format.Snappy:
		var out []byte
		out, err = snappy.Decode(dst, src)
		n = len(out)
	case format.Gzip:
		n, err = p.gunzip(dst, src)
	case format.Zstd:
		n, err = p.unzstd(dst, src)
	case format.Brotli:
		n, err = p.unbrotli(dst, src)
	case format.Lz4Raw:
		n, err = lz4.UncompressBlock(src, dst)
	case format.Lz4:
		n, err = unlz4Hadoop(dst, src)
	default:
		return 0, fmt.Errorf("codec %s is not read; write the file with gzip, Snappy or Zstandard", codec)
	}
	if err != nil {
		return n, damaged("a page of %d bytes in %s: %w", len(src), codec, err)
	}
	return n, nil
}

func (p *pageBuffers) gunzip(dst, src []byte) (n int, err error) {
	p.input.Reset(src)
	if p.gzip == nil {
		p.gzip, err = gzip.NewReader(&p.input)
	} else {
		err = p.gzip.Reset(&p.input)
	}
	if err != nil {
		return 0, err
	}
	return readFull(p.gzip, dst)
}

func (p *pageBuffers) unbrotli(dst, src []byte) (int, error) {
	p.input.Reset(src)
	if p.brotli == nil {
		p.brotli = brotli.NewReader(&p.input)
	} else if err := p.brotli.Reset(&p.input); err != nil {
		return 0, err
	}
	return readFull(p.brotli, dst)
}

var errTooLong = errors.New("it gives more than its header says")

// readFull fills p from r, which has to end there. It stops at errors and
// reads to the end, so that checksums are checked.
func readFull(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return n, nil // the caller compares the lengths
	}
	if err != nil {
		return n, err
	}
	var more [1]byte
	switch m, err := io.ReadFull(r, more[:]); {
	case m > 0:
		return n, errTooLong
	case err != io.EOF:
		return n, err
	}
	return n, nil
}

func (p *pageBuffers) unzstd(dst, src []byte) (int, error) {
	if p.zstd == nil {
		var err error
		p.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
			zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecoderMaxWindow(maxPage))
		if err != nil {
			return 0, err
		}
	}
	out, err := p.zstd.DecodeAll(src, dst[:0])
	return len(out), err
}

// unlz4Hadoop reads the codec that is called LZ4 alone: blocks, each with its
// lengths in front, as Hadoop frames them, or one block without, as some
// writers understood it.
// Source: apache/parquet-format, Compression.md, "LZ4".
func unlz4Hadoop(dst, src []byte) (int, error) {
	n, rest := 0, src
	for len(rest) >= 8 {
		size, length := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		if uint64(size) > uint64(len(dst)-n) || uint64(length) > uint64(len(rest)-8) {
			break
		}
		m, err := lz4.UncompressBlock(rest[8:8+length], dst[n:n+int(size)])
		if err != nil || m != int(size) {
			break
		}
		n, rest = n+m, rest[8+length:]
	}
	if len(rest) == 0 && n == len(dst) {
		return n, nil
	}
	return lz4.UncompressBlock(src, dst)
}
