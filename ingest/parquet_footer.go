package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// Bounds on what a file may claim of itself. Flow logs stay far below; a
// file beyond them is damaged or made to do harm.
const (
	maxFooter    = 16 << 20 // bytes
	maxElements  = 200_000  // structures in lists of the footer: columns, and columns times row groups
	maxDepth     = 32       // of the schema, and of structures in the footer
	maxRowGroups = math.MaxInt16
	// maxRowsPerByte bounds the rows by the file's size. Columns that never
	// change take next to nothing a row, but not nothing.
	maxRowsPerByte = 4096
)

// damaged is the error for a file that does not say what it should.
func damaged(format string, args ...any) error {
	return fmt.Errorf(format+"; the file is damaged: fetch or write it again", args...)
}

// footer is what is needed of a file's metadata. The structures here stand in
// for those of package format, whose lists could be made to take a hundred
// times the memory of the footer, and whose statistics do not tell that the
// number of nulls is not known from that there are none.
// Source: apache/parquet-format, parquet.thrift, FileMetaData.
type footer struct {
	Schema       []schemaElement      `thrift:"2,required"`
	NumRows      int64                `thrift:"3,required"`
	RowGroups    []rowGroup           `thrift:"4,required"`
	Metadata     []keyValue           `thrift:"5,optional"`
	ColumnOrders []format.ColumnOrder `thrift:"7,optional"`

	leaves []*leaf
}

type keyValue struct {
	Key   string `thrift:"1,required"`
	Value string `thrift:"2,optional"`
}

type schemaElement struct {
	Type        thrift.Null[format.Type]              `thrift:"1,optional"`
	TypeLength  int32                                 `thrift:"2,optional"`
	Repetition  format.FieldRepetitionType            `thrift:"3,optional"`
	Name        string                                `thrift:"4,required"`
	NumChildren int32                                 `thrift:"5,optional"`
	Converted   thrift.Null[deprecated.ConvertedType] `thrift:"6,optional"`
	Logical     format.LogicalType                    `thrift:"10,optional"`
}

type rowGroup struct {
	Columns []columnChunk `thrift:"1,required"`
	NumRows int64         `thrift:"3,required"`
}

type columnChunk struct {
	FilePath string                      `thrift:"1,optional"`
	Meta     columnMeta                  `thrift:"3,optional"`
	Crypto   format.ColumnCryptoMetaData `thrift:"8,optional"`
}

type columnMeta struct {
	Type             format.Type             `thrift:"1,required"`
	Codec            format.CompressionCodec `thrift:"4,required"`
	NumValues        int64                   `thrift:"5,required"`
	CompressedSize   int64                   `thrift:"7,required"`
	DataOffset       int64                   `thrift:"9,required"`
	DictionaryOffset int64                   `thrift:"11,optional"`
	Statistics       chunkStatistics         `thrift:"12,optional"`
}

type chunkStatistics struct {
	NullCount thrift.Null[int64] `thrift:"3,optional"`
	MaxValue  []byte             `thrift:"5,optional"`
	MinValue  []byte             `thrift:"6,optional"`
}

// tailReader reads an object, its last part from memory once that has been
// read.
type tailReader struct {
	r    io.ReaderAt
	size int64
	tail []byte
}

// tailSize is how much of the end of a file is read at once. It holds the
// footer of a file of some hundred columns and row groups, and with it the
// whole of a small file.
const tailSize = 64 << 10

// readAt reads all of p, or gives an error.
func (t *tailReader) readAt(p []byte, off int64) error {
	if off < 0 || off > t.size-int64(len(p)) {
		return damaged("bytes %d to %d are needed of a file of %d", off, off+int64(len(p)), t.size)
	}
	if begin := t.size - int64(len(t.tail)); off >= begin {
		copy(p, t.tail[off-begin:])
		return nil
	}
	n, err := t.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = damaged("the file ends at byte %d, not %d", off+int64(n), t.size)
	}
	return err
}

// readTail reads the end of the file.
func (t *tailReader) readTail(n int64) error {
	if int64(cap(t.tail)) < n {
		t.tail = make([]byte, 0, n)
	}
	p := t.tail[:n]
	if err := t.readAt(p, t.size-n); err != nil {
		return err
	}
	t.tail = p
	return nil
}

// readFooter reads and checks the metadata at the end of the file.
func readFooter(src *tailReader) (*footer, error) {
	const ending = 8 // length of the footer, magic
	if src.size < ending {
		return nil, damaged("%d bytes are no Parquet file", src.size)
	}
	if err := src.readTail(min(src.size, tailSize)); err != nil {
		return nil, err
	}
	end := src.tail[len(src.tail)-ending:]
	switch string(end[4:]) {
	case "PAR1":
	case "PARE":
		return nil, notFlowLog(errEncrypted)
	default:
		return nil, damaged("it does not end with a Parquet footer: it may have been cut short")
	}
	length := int64(binary.LittleEndian.Uint32(end))
	if length > min(src.size-ending, maxFooter) {
		return nil, damaged("a footer of %d bytes in a file of %d", length, src.size)
	}
	raw := make([]byte, length)
	if err := src.readAt(raw, src.size-ending-length); err != nil {
		return nil, err
	}
	return parseFooter(raw, src.size)
}

var errEncrypted = errors.New("the Parquet file is encrypted; give it decrypted")

// parseFooter decodes raw, the footer of a file of the given size.
func parseFooter(raw []byte, size int64) (*footer, error) {
	// A signature may follow the structure.
	n, err := thriftSize(raw, maxElements)
	if err != nil {
		return nil, damaged("footer: %w", err)
	}
	f := new(footer)
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), raw[:n], f); err != nil {
		return nil, damaged("footer: %w", err)
	}
	if err := f.check(size); err != nil {
		return nil, damaged("footer: %w", err)
	}
	return f, nil
}

// digest returns what a digest says of itself; nil when the file is none.
func (f *footer) digest() (*digest.Summary, error) {
	for _, m := range f.Metadata {
		if m.Key == digest.MetadataKey {
			return digest.Parse(m.Value)
		}
	}
	return nil, nil
}

// check finds the columns in the schema, and looks at what the row groups
// claim.
func (f *footer) check(size int64) error {
	if err := f.findLeaves(); err != nil {
		return err
	}
	if len(f.RowGroups) > maxRowGroups {
		return fmt.Errorf("%d row groups", len(f.RowGroups))
	}
	var rows int64
	for i := range f.RowGroups {
		g := &f.RowGroups[i]
		if len(g.Columns) != len(f.leaves) {
			return fmt.Errorf("row group %d has %d columns, the schema %d", i+1, len(g.Columns), len(f.leaves))
		}
		if g.NumRows < 0 || g.NumRows > maxRowsPerByte*size {
			return fmt.Errorf("row group %d has %d rows, in a file of %d bytes", i+1, g.NumRows, size)
		}
		rows += g.NumRows
	}
	if rows > maxRowsPerByte*size {
		return fmt.Errorf("%d rows in a file of %d bytes", rows, size)
	}
	return nil
}

// leaf is a column of the schema that holds values.
type leaf struct {
	path   []string
	index  int // among the leaves, and among the columns of each row group
	typ    format.Type
	length int // of FIXED_LEN_BYTE_ARRAY
	schema *schemaElement
	// ordered is set when the statistics follow the type's own order.
	ordered bool

	// A value is there where the definition level is maxDefinition, and
	// begins a row where the repetition level is 0. An element of the
	// innermost list is there, perhaps as null, from the level element on.
	maxDefinition, maxRepetition, element uint8
}

func (l *leaf) name() string { return strings.Join(l.path, ".") }

// findLeaves walks the schema, which is a tree written depth first.
func (f *footer) findLeaves() error {
	if len(f.Schema) == 0 {
		return errors.New("no schema")
	}
	rest, err := f.walk(f.Schema[1:], f.Schema[0].NumChildren, leaf{})
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d columns belong to nothing", len(rest))
	}
	return err
}

// walk reads the given number of children of parent from the beginning of
// elements, and returns what follows them.
func (f *footer) walk(elements []schemaElement, children int32, parent leaf) ([]schemaElement, error) {
	if len(parent.path) == maxDepth {
		return nil, fmt.Errorf("columns nested more than %d deep", maxDepth)
	}
	for range children {
		if len(elements) == 0 {
			return nil, errors.New("the schema ends early")
		}
		e := &elements[0]
		l := parent
		l.path = slices.Concat(parent.path, []string{e.Name})
		switch e.Repetition {
		case format.Optional:
			l.maxDefinition++
		case format.Repeated:
			l.maxDefinition++
			l.maxRepetition++
			l.element = l.maxDefinition
		}
		elements = elements[1:]
		if e.Type.Valid {
			f.addLeaf(l, e)
			continue
		}
		var err error
		if elements, err = f.walk(elements, e.NumChildren, l); err != nil {
			return nil, err
		}
	}
	return elements, nil
}

func (f *footer) addLeaf(l leaf, e *schemaElement) {
	l.index = len(f.leaves)
	l.typ, l.length, l.schema = e.Type.V, int(e.TypeLength), e
	if l.index < len(f.ColumnOrders) {
		_, l.ordered = f.ColumnOrders[l.index].Value.(*format.TypeDefinedOrder)
	}
	f.leaves = append(f.leaves, &l)
}

// flat returns the columns that are not nested, and their names.
func (f *footer) flat() (leaves []*leaf, names []string) {
	for _, l := range f.leaves {
		if len(l.path) == 1 && l.maxRepetition == 0 {
			leaves = append(leaves, l)
			names = append(names, l.path[0])
		}
	}
	return leaves, names
}

// find returns the leaf with the given path, or nil.
func (f *footer) find(path ...string) *leaf {
	name := strings.Join(path, ".")
	for _, l := range f.leaves {
		if l.name() == name {
			return l
		}
	}
	return nil
}

// isNull reports whether the leaf l has no values at all, as far as that is
// known.
func (f *footer) isNull(l *leaf) bool {
	if _, ok := l.schema.Logical.Value.(*format.NullType); ok {
		return true
	}
	for i := range f.RowGroups {
		m := &f.RowGroups[i].Columns[l.index].Meta
		if n := m.Statistics.NullCount; !n.Valid || n.V != m.NumValues {
			return false
		}
	}
	return true
}

// hyphened returns names as AWS writes them in text.
func hyphened(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ReplaceAll(name, "_", "-")
	}
	return out
}

// Types of the compact protocol.
// Source: apache/thrift, doc/specs/thrift-compact-protocol.md.
const (
	thriftTrue = iota + 1
	thriftFalse
	thriftByte
	thriftI16
	thriftI32
	thriftI64
	thriftDouble
	thriftBinary
	thriftList
	thriftSet
	thriftMap
	thriftStruct
	thriftUUID
)

var errThriftShort = errors.New("it ends early")

// thriftSize returns the length of the structure at the beginning of data. It
// refuses lists and texts that are longer than the data, which a decoder
// would make room for, and more than the given number of structures in
// lists. errThriftShort says that the structure goes beyond data.
func thriftSize(data []byte, structures int) (int, error) {
	w := thriftWalker{rest: data, structures: structures}
	err := w.structure(0)
	return len(data) - len(w.rest), err
}

type thriftWalker struct {
	rest       []byte
	structures int // that may follow in lists
}

func (w *thriftWalker) skip(n uint64) error {
	if n > uint64(len(w.rest)) {
		return errThriftShort
	}
	w.rest = w.rest[n:]
	return nil
}

func (w *thriftWalker) varint() (uint64, error) {
	v, n := binary.Uvarint(w.rest)
	if n == 0 {
		return 0, errThriftShort
	}
	if n < 0 {
		return 0, errors.New("a number is too long")
	}
	w.rest = w.rest[n:]
	return v, nil
}

func (w *thriftWalker) byte() (byte, error) {
	if len(w.rest) == 0 {
		return 0, errThriftShort
	}
	b := w.rest[0]
	w.rest = w.rest[1:]
	return b, nil
}

func (w *thriftWalker) structure(depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deep")
	}
	for {
		head, err := w.byte()
		if err != nil || head == 0 {
			return err
		}
		if head>>4 == 0 { // the number of the field follows
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		if err := w.field(head&0xf, depth); err != nil {
			return err
		}
	}
}

// field passes over the value of a field, whose type holds the value of a
// Boolean.
func (w *thriftWalker) field(typ byte, depth int) error {
	if typ == thriftTrue || typ == thriftFalse {
		return nil
	}
	return w.value(typ, depth)
}

func (w *thriftWalker) value(typ byte, depth int) error {
	switch typ {
	case thriftTrue, thriftFalse, thriftByte:
		return w.skip(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := w.varint()
		return err
	case thriftDouble:
		return w.skip(8)
	case thriftUUID:
		return w.skip(16)
	case thriftBinary:
		n, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case thriftList, thriftSet:
		return w.list(depth)
	case thriftStruct:
		return w.structure(depth + 1)
	}
	// Parquet has no maps in its metadata.
	return fmt.Errorf("type %d is unknown", typ)
}

func (w *thriftWalker) list(depth int) error {
	head, err := w.byte()
	if err != nil {
		return err
	}
	n, typ := uint64(head>>4), head&0xf
	if n == 15 {
		if n, err = w.varint(); err != nil {
			return err
		}
	}
	if n > uint64(len(w.rest)) { // an element takes a byte at least
		return errThriftShort
	}
	if typ == thriftStruct || typ == thriftList || typ == thriftSet {
		if n > uint64(w.structures) {
			return errors.New("it lists too many columns and row groups")
		}
		w.structures -= int(n)
	}
	if depth++; depth > maxDepth {
		return errors.New("nested too deep")
	}
	for range n {
		if err := w.value(typ, depth); err != nil {
			return err
		}
	}
	return nil
}

// isOutside reports whether the statistics of g show that none of its records
// is inside the time window.
func (d *parquetDecoder) isOutside(g *rowGroup) bool {
	from, to := d.values.from, d.values.to
	if from == 0 && to == 0 {
		return false
	}
	for _, c := range d.columns {
		if c.rules.kind != kindTime || c.fallback {
			continue
		}
		first, last, ok := c.times(&g.Columns[c.leaf.index].Meta)
		switch {
		case !ok:
		case c.column.field == flow.FieldEnd && from != 0 && last < from,
			c.column.field == flow.FieldStart && to != 0 && first >= to:
			return true
		}
	}
	return false
}

// times returns the first and the last time in a column chunk, in Unix
// seconds, when its statistics are to be trusted: every row has a time, the
// order is the numbers', and no value is an error, which would have to be
// reported.
func (c *parquetColumn) times(m *columnMeta) (first, last int64, ok bool) {
	l, s := c.leaf, &m.Statistics
	nulls := l.maxDefinition > 0 && (!s.NullCount.Valid || s.NullCount.V != 0)
	if !l.ordered || l.maxRepetition > 0 || nulls {
		return 0, 0, false
	}
	low, okLow := plainInt(l.typ, s.MinValue)
	high, okHigh := plainInt(l.typ, s.MaxValue)
	if !okLow || !okHigh || low < 0 || high < low {
		return 0, 0, false
	}
	if c.unit == 0 && low <= maxSeconds && high > maxSeconds {
		return 0, 0, false // seconds and milliseconds, in an order of their own
	}
	first, err := c.seconds(low)
	if err != nil {
		return 0, 0, false
	}
	last, err = c.seconds(high)
	return first, last, err == nil
}

// plainInt reads an integer as statistics hold it.
func plainInt(typ format.Type, b []byte) (int64, bool) {
	switch {
	case typ == format.Int32 && len(b) == 4:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case typ == format.Int64 && len(b) == 8:
		return int64(binary.LittleEndian.Uint64(b)), true
	}
	return 0, false
}
