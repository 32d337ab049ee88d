package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"ephemera/ingest/flow"
)

// valueRules tell how the values of a column are read.
type valueRules struct {
	kind  valueKind
	limit uint64 // of kindNumber
	enum  func([]byte) (uint64, error)
}

type valueKind uint8

const (
	kindText   valueKind = iota
	kindAddr             // in text form
	kindNumber           // up to a limit
	kindTime             // in seconds, milliseconds, or a TIMESTAMP's unit
	kindEnum             // one of some words
)

// fieldRules holds the rules of the fields that are no text.
var fieldRules = func() (rules [flow.NumFields]valueRules) {
	for _, f := range []flow.Field{flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldPktSrcAddr, flow.FieldPktDstAddr} {
		rules[f] = valueRules{kind: kindAddr}
	}
	for _, f := range []flow.Field{flow.FieldVersion, flow.FieldProtocol, flow.FieldTCPFlags, flow.FieldTrafficPath} {
		rules[f] = valueRules{kind: kindNumber, limit: math.MaxUint8}
	}
	for _, f := range []flow.Field{flow.FieldSrcPort, flow.FieldDstPort} {
		rules[f] = valueRules{kind: kindNumber, limit: math.MaxUint16}
	}
	for _, f := range []flow.Field{flow.FieldPackets, flow.FieldBytes} {
		rules[f] = valueRules{kind: kindNumber, limit: math.MaxInt64}
	}
	for _, f := range []flow.Field{flow.FieldStart, flow.FieldEnd} {
		rules[f] = valueRules{kind: kindTime}
	}
	rules[flow.FieldAction] = valueRules{kind: kindEnum, enum: enum(action)}
	rules[flow.FieldLogStatus] = valueRules{kind: kindEnum, enum: enum(logStatus)}
	rules[flow.FieldFlowDirection] = valueRules{kind: kindEnum, enum: enum(direction)}
	return rules
}()

func enum[T ~uint8](parse func([]byte) (T, error)) func([]byte) (uint64, error) {
	return func(tok []byte) (uint64, error) {
		v, err := parse(tok)
		return uint64(v), err
	}
}

// rulesOf returns the rules of a column of the plan.
func rulesOf(c column) valueRules {
	if c.read == keep {
		return valueRules{kind: kindText}
	}
	return fieldRules[c.field]
}

// cells are values of one column, translated, one each row of a block or each
// entry of a dictionary. Of the slices of values, that of the column's kind is
// in use. The value of an absent cell is zero.
type cells struct {
	state []byte // absent, present or bad
	nums  []uint64
	addrs []flow.Addr
	strs  []string
	errs  map[int]error // of the bad ones
}

const (
	absent byte = iota
	present
	bad
)

// resize makes room for n cells, all of them absent; their values are still
// to be written.
func (c *cells) resize(n int, kind valueKind) {
	c.state = slices.Grow(c.state[:0], n)[:n]
	clear(c.state)
	switch kind {
	case kindAddr:
		c.addrs = slices.Grow(c.addrs[:0], n)[:n]
	case kindText:
		c.strs = slices.Grow(c.strs[:0], n)[:n]
	default:
		c.nums = slices.Grow(c.nums[:0], n)[:n]
	}
	clear(c.errs)
}

// clear writes the values of n absent cells from at on.
func (c *cells) clear(at, n int, kind valueKind) {
	switch kind {
	case kindAddr:
		clear(c.addrs[at : at+n])
	case kindText:
		clear(c.strs[at : at+n])
	default:
		clear(c.nums[at : at+n])
	}
}

func (c *cells) fail(i int, err error) {
	if c.errs == nil {
		c.errs = map[int]error{}
	}
	c.state[i], c.errs[i] = bad, err
}

// parquetColumn reads the values of one column, across its pages and row
// groups.
type parquetColumn struct {
	number int // among the columns of a decoder
	leaf   *leaf
	column column
	rules  valueRules
	names  *interner
	pages  *pageBuffers

	// unit is how many units of a TIMESTAMP make a second; 0 is for numbers
	// that are seconds or milliseconds, whichever their size shows.
	unit     int64
	unsigned bool // the type is
	real     bool // the type is FLOAT or DOUBLE

	// fallback is set when the column counts only where another one of the
	// same field has no value.
	fallback bool

	// literal is set for what text holds as it is: "None" is no absent field.
	literal bool

	chunk chunkReader
	codec format.CompressionCodec
	left  int64 // values of the chunk that are in no page yet, nulls included

	page       []byte
	kept       []byte // levels of a page of version 2
	pageLeft   int    // values of the page that are not read, nulls included
	definition hybrid
	repetition hybrid
	values     pageValues
	dictionary cells
	whole      bool  // every entry of the dictionary is present
	entries    int   // of the dictionary, or -1 before it
	held       int64 // bytes for page and dictionary, as counted in pages

	// cells are those of the block. Of a repeated column they are the
	// elements of all its rows, those of row i from starts[i] to
	// starts[i+1].
	cells  cells
	starts []int

	spans   []span // scratch, as are those below
	levels  []uint32
	indexes []uint32
	ints    []int64
	text    []byte
}

// unreadable says what about the leaf's type keeps it from holding values of
// the given kind; "" when nothing does.
func (l *leaf) unreadable(kind valueKind) string {
	if l.maxRepetition > 0 && l.element == 0 {
		return "a list"
	}
	logical := l.schema.Logical.Value
	switch logical.(type) {
	case *format.DecimalType, *format.DateType, *format.TimeType, *format.UUIDType, *format.Float16Type,
		*format.BsonType, *format.GeometryType, *format.GeographyType:
		return fmt.Sprint(logical)
	case *format.TimestampType:
		if kind != kindTime && kind != kindText {
			return fmt.Sprint(logical)
		}
	}
	switch c := l.schema.Converted; {
	case !c.Valid || logical != nil:
	case c.V == deprecated.Decimal, c.V == deprecated.Date, c.V == deprecated.TimeMillis,
		c.V == deprecated.TimeMicros, c.V == deprecated.Bson, c.V == deprecated.Interval:
		return fmt.Sprintf("%s with converted type %d", l.typ, c.V)
	}
	return l.unreadableType(kind)
}

// unreadableType is unreadable for the physical type.
func (l *leaf) unreadableType(kind valueKind) string {
	switch l.typ {
	case format.ByteArray:
		return ""
	case format.FixedLenByteArray:
		if l.length > 0 {
			return ""
		}
	case format.Int32, format.Int64, format.Float, format.Double:
		if kind != kindAddr {
			return ""
		}
	case format.Int96:
		if kind == kindTime {
			return ""
		}
	case format.Boolean:
		if kind == kindText {
			return ""
		}
	}
	return l.typ.String()
}

// use makes c read another leaf.
func (c *parquetColumn) use(l *leaf, p column, rules valueRules) {
	c.leaf, c.column, c.rules, c.fallback, c.literal = l, p, rules, false, false
	c.unit = timeUnit(l)
	c.real = l.typ == format.Float || l.typ == format.Double
	c.unsigned = false
	if t, ok := l.schema.Logical.Value.(*format.IntType); ok {
		c.unsigned = !t.IsSigned
	} else if t := l.schema.Converted; t.Valid {
		c.unsigned = t.V >= deprecated.Uint8 && t.V <= deprecated.Uint64
	}
}

// timeUnit returns how many of a leaf's values make a second, or 0.
func timeUnit(l *leaf) int64 {
	if t, ok := l.schema.Logical.Value.(*format.TimestampType); ok {
		switch t.Unit.Value.(type) {
		case *format.MilliSeconds:
			return 1e3
		case *format.MicroSeconds:
			return 1e6
		case *format.NanoSeconds:
			return 1e9
		}
	}
	switch t := l.schema.Converted; {
	case l.typ == format.Int96:
		return 1
	case t.Valid && t.V == deprecated.TimestampMillis:
		return 1e3
	case t.Valid && t.V == deprecated.TimestampMicros:
		return 1e6
	}
	return 0
}

// release lets go of the object, and of buffers that are larger than most
// pages.
func (c *parquetColumn) release() {
	const keepable = 2 << 20
	c.chunk.src = nil
	if cap(c.chunk.buf) > keepable {
		c.chunk.buf = nil
	}
	if cap(c.page) > keepable {
		c.page = nil
	}
	if c.entries > keepable/16 {
		c.dictionary = cells{}
	}
	c.left, c.pageLeft, c.entries = 0, 0, 0
	c.values.data = nil
	c.pages.held -= c.held
	c.held = 0
}

// hold counts the memory for a page of the given size, and for a dictionary,
// before it is taken.
func (c *parquetColumn) hold(page int32, entries int) error {
	const cell = 24 // bytes, the largest value and its state
	held := max(int64(page), int64(cap(c.page))) + cell*int64(max(entries, 0))
	if c.pages.held += held - c.held; c.pages.held > maxHeld {
		c.pages.held -= held - c.held
		return damaged("the pages of all columns take more than %d MiB", maxHeld>>20)
	}
	c.held = held
	return nil
}

// open goes to the column's chunk in g.
func (c *parquetColumn) open(src *tailReader, g *rowGroup) error {
	chunk := &g.Columns[c.leaf.index]
	m := &chunk.Meta
	switch {
	case chunk.Crypto.Value != nil:
		return notFlowLog(errEncrypted)
	case chunk.FilePath != "":
		return errors.New("its values are in another file; give that one")
	case m.Type != c.leaf.typ:
		return damaged("the row group has %s, the schema %s", m.Type, c.leaf.typ)
	case m.NumValues < 0, c.leaf.maxRepetition == 0 && m.NumValues != g.NumRows:
		return damaged("%d values in %d rows", m.NumValues, g.NumRows)
	}
	begin := m.DataOffset
	if m.DictionaryOffset > 0 && m.DictionaryOffset < begin {
		begin = m.DictionaryOffset
	}
	if begin < 0 || m.CompressedSize < 0 || m.CompressedSize > src.size-begin {
		return damaged("bytes %d to %d are needed of a file of %d", begin, begin+m.CompressedSize, src.size)
	}
	c.chunk.reset(src, begin, begin+m.CompressedSize)
	c.codec, c.left = m.Codec, m.NumValues
	c.pageLeft, c.entries = 0, -1
	return nil
}

var errShortChunk = errors.New("the column ends before its last row")

// fill reads the cells of the next n rows. With an error it returns how many
// rows are whole.
func (c *parquetColumn) fill(n int) (int, error) {
	if c.leaf.maxRepetition > 0 {
		return c.fillRepeated(n)
	}
	c.cells.resize(n, c.rules.kind)
	for done := 0; done < n; {
		if c.pageLeft == 0 {
			if err := c.nextPage(); err != nil {
				return done, err
			}
			continue
		}
		m := min(n-done, c.pageLeft)
		if err := c.read(done, m); err != nil {
			return done, pageError(err)
		}
		c.pageLeft -= m
		done += m
	}
	return n, nil
}

// pageError says of the errors of encodings that they are damage.
func pageError(err error) error {
	if errors.Is(err, errEncoding) {
		return err
	}
	return damaged("%w", err)
}

// nextPage goes to the next data page, reading a dictionary on the way.
func (c *parquetColumn) nextPage() error {
	for {
		if c.left == 0 || c.chunk.left() == 0 {
			return damaged("%w", errShortChunk)
		}
		h, err := c.chunk.header()
		if err != nil {
			return err
		}
		body, err := c.chunk.body(h)
		if err != nil {
			return err
		}
		switch h.Type {
		case format.DictionaryPage:
			err = c.readDictionary(h, body)
		case format.DataPage:
			err = c.openPage(h, body)
		case format.DataPageV2:
			err = c.openPageV2(h, body)
		}
		if err != nil {
			return err
		}
		if c.pageLeft > 0 {
			return nil
		}
	}
}

// openPage begins a data page of version 1: levels and values are compressed
// together.
func (c *parquetColumn) openPage(h *format.PageHeader, body []byte) (err error) {
	p := &h.DataPageHeader.V
	if err := c.hold(h.UncompressedPageSize, c.entries); err != nil {
		return err
	}
	if c.page, err = c.pages.expand(c.codec, c.page, body, int(h.UncompressedPageSize)); err != nil {
		return err
	}
	data := c.page
	if data, err = levelsV1(&c.repetition, data, p.RepetitionLevelEncoding, c.leaf.maxRepetition); err != nil {
		return err
	}
	if data, err = levelsV1(&c.definition, data, p.DefinitionLevelEncoding, c.leaf.maxDefinition); err != nil {
		return err
	}
	return c.beginValues(p.NumValues, p.Encoding, data)
}

// levelsV1 begins the levels at the beginning of data and returns what
// follows.
func levelsV1(h *hybrid, data []byte, encoding format.Encoding, highest uint8) ([]byte, error) {
	if highest == 0 {
		return data, nil
	}
	if encoding != format.RLE {
		return nil, fmt.Errorf("levels in %s are not read; write the file again with a newer program", encoding)
	}
	if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
		return nil, pageError(errShortPage)
	}
	end := 4 + binary.LittleEndian.Uint32(data)
	h.reset(data[4:end], levelWidth(highest))
	return data[end:], nil
}

// openPageV2 begins a data page of version 2: levels stand in front of the
// values and are not compressed.
func (c *parquetColumn) openPageV2(h *format.PageHeader, body []byte) (err error) {
	p := &h.DataPageHeaderV2.V
	repetition, definition := int(p.RepetitionLevelsByteLength), int(p.DefinitionLevelsByteLength)
	levels := repetition + definition
	codec, size := c.codec, int(h.UncompressedPageSize)-levels
	if p.IsCompressed.Valid && !p.IsCompressed.V {
		codec = format.Uncompressed
	}
	if err := c.hold(h.UncompressedPageSize, c.entries); err != nil {
		return err
	}
	if c.page, err = c.pages.expand(codec, c.page, body[levels:], size); err != nil {
		return err
	}
	c.kept = append(c.kept[:0], body[:levels]...) // the body's memory is the chunk's
	c.repetition.reset(c.kept[:repetition], levelWidth(c.leaf.maxRepetition))
	c.definition.reset(c.kept[repetition:], levelWidth(c.leaf.maxDefinition))
	return c.beginValues(p.NumValues, p.Encoding, c.page)
}

// beginValues begins the values of a page.
func (c *parquetColumn) beginValues(n int32, encoding format.Encoding, data []byte) error {
	if int64(n) > c.left {
		return damaged("a page of %d values where %d are left", n, c.left)
	}
	if err := c.values.reset(encoding, c.leaf, data); err != nil {
		return fmt.Errorf("encoding %s: %w", encoding, pageError(err))
	}
	if c.values.isDictionary() && c.entries < 0 {
		return damaged("a page needs a dictionary, and there is none")
	}
	c.left -= int64(n)
	c.pageLeft = int(n)
	return nil
}

// readDictionary translates the entries of the dictionary.
func (c *parquetColumn) readDictionary(h *format.PageHeader, body []byte) (err error) {
	p := &h.DictionaryPageHeader.V
	if c.entries >= 0 {
		return damaged("a second dictionary")
	}
	if p.Encoding != format.Plain && p.Encoding != plainDictionary {
		return fmt.Errorf("dictionary in %s: %w", p.Encoding, errEncoding)
	}
	if err := c.hold(h.UncompressedPageSize, 0); err != nil {
		return err
	}
	if c.page, err = c.pages.expand(c.codec, c.page, body, int(h.UncompressedPageSize)); err != nil {
		return err
	}
	n := int(p.NumValues)
	if n > 8*len(c.page) { // Booleans take a bit, all others more
		return damaged("a dictionary of %d values in %d bytes", n, len(c.page))
	}
	if err := c.hold(0, n); err != nil {
		return err
	}
	if err := c.values.reset(format.Plain, c.leaf, c.page); err != nil {
		return err
	}
	c.dictionary.resize(n, c.rules.kind)
	for done := 0; done < n; {
		m := min(n-done, blockRows)
		if err := c.readPlain(&c.dictionary, done, m); err != nil {
			return pageError(err)
		}
		done += m
	}
	c.entries, c.whole = n, bytes.Count(c.dictionary.state, []byte{present}) == n
	return nil
}

// read reads n values of the page, nulls included, into the cells from at on.
func (c *parquetColumn) read(at, n int) error {
	if c.leaf.maxDefinition == 0 {
		return c.readPresent(at, n)
	}
	there, err := c.readLevels(n)
	switch {
	case err != nil:
		return err
	case there == n:
		return c.readPresent(at, n)
	}
	c.cells.clear(at, n, c.rules.kind)
	if c.values.isDictionary() {
		return c.readSpread(at, there)
	}
	for _, s := range c.spans {
		if err := c.readPresent(at+s.from, s.to-s.from); err != nil {
			return err
		}
	}
	return nil
}

// A span is a range of rows whose values are there, none of them null.
type span struct{ from, to int }

// readLevels reads n levels. It puts into spans where values are there, and
// returns how many are.
func (c *parquetColumn) readLevels(n int) (there int, err error) {
	c.spans = c.spans[:0]
	highest := uint32(c.leaf.maxDefinition)
	for at := 0; at < n; {
		m, err := c.definition.next(n - at)
		if err != nil {
			return 0, err
		}
		if level, ok := c.definition.repeated(m); ok {
			if level == highest {
				there += m
				c.addSpan(at, at+m)
			}
		} else {
			there += c.readMixedLevels(at, m)
		}
		at += m
	}
	return there, nil
}

// readMixedLevels reads n levels, of the rows from at on, that differ.
func (c *parquetColumn) readMixedLevels(at, n int) (there int) {
	c.levels = slices.Grow(c.levels[:0], n)[:n]
	levels, highest := c.levels, uint32(c.leaf.maxDefinition)
	c.definition.unpack(levels)
	for i := 0; i < n; i++ {
		from := i
		for i < n && levels[i] == highest {
			i++
		}
		if i > from {
			there += i - from
			c.addSpan(at+from, at+i)
		}
	}
	return there
}

func (c *parquetColumn) addSpan(from, to int) {
	if last := len(c.spans) - 1; last >= 0 && c.spans[last].to == from {
		c.spans[last].to = to
		return
	}
	c.spans = append(c.spans, span{from, to})
}

// readPresent reads n values, none of them null, into the cells from at on.
func (c *parquetColumn) readPresent(at, n int) error {
	if !c.values.isDictionary() {
		return c.readPlain(&c.cells, at, n)
	}
	indexes, err := c.readIndexes(n)
	if err != nil {
		return err
	}
	return c.look(at, indexes)
}

// readSpread reads the given number of values, the entries of a dictionary,
// into the spans of the cells from at on.
func (c *parquetColumn) readSpread(at, there int) error {
	indexes, err := c.readIndexes(there)
	if err != nil {
		return err
	}
	for _, s := range c.spans {
		n := s.to - s.from
		if err := c.look(at+s.from, indexes[:n]); err != nil {
			return err
		}
		indexes = indexes[n:]
	}
	return nil
}

func (c *parquetColumn) readIndexes(n int) ([]uint32, error) {
	c.indexes = slices.Grow(c.indexes[:0], n)[:n]
	return c.indexes, c.values.indexes.fill(c.indexes)
}

// look takes entries of the dictionary into the cells from at on.
func (c *parquetColumn) look(at int, indexes []uint32) error {
	d, out, n := &c.dictionary, &c.cells, len(indexes)
	var ok bool
	switch c.rules.kind {
	case kindAddr:
		ok = gather(out.addrs[at:at+n], d.addrs[:c.entries], indexes)
	case kindText:
		ok = gather(out.strs[at:at+n], d.strs[:c.entries], indexes)
	default:
		ok = gather(out.nums[at:at+n], d.nums[:c.entries], indexes)
	}
	switch {
	case !ok:
		return fmt.Errorf("entry %d of a dictionary of %d", beyond(indexes, c.entries), c.entries)
	case c.whole:
		setPresent(out.state[at : at+n])
		return nil
	}
	gather(out.state[at:at+n], d.state[:c.entries], indexes)
	if len(d.errs) > 0 {
		for i, index := range indexes {
			if err := d.errs[int(index)]; err != nil {
				out.fail(at+i, err)
			}
		}
	}
	return nil
}

// gather takes the entries of a dictionary, and reports whether it has them
// all.
func gather[T any](out, dictionary []T, indexes []uint32) bool {
	out = out[:len(indexes)]
	for i, index := range indexes {
		if int(index) >= len(dictionary) {
			return false
		}
		out[i] = dictionary[index]
	}
	return true
}

// beyond returns the first index that is not below entries.
func beyond(indexes []uint32, entries int) uint32 {
	return indexes[slices.IndexFunc(indexes, func(index uint32) bool { return int(index) >= entries })]
}

var allPresent = bytes.Repeat([]byte{present}, blockRows)

func setPresent(state []byte) {
	for n := 0; n < len(state); {
		n += copy(state[n:], allPresent)
	}
}

// readPlain reads n values that stand in the page themselves.
func (c *parquetColumn) readPlain(out *cells, at, n int) error {
	if c.leaf.typ == format.ByteArray || c.leaf.typ == format.FixedLenByteArray {
		out.clear(at, n, c.rules.kind)
		for i := at; i < at+n; i++ {
			b, err := c.values.bytes()
			if err != nil {
				return err
			}
			c.translateText(out, i, b)
		}
		return nil
	}
	c.ints = slices.Grow(c.ints[:0], n)[:n]
	if err := c.values.integers(c.ints); err != nil {
		return err
	}
	if c.translateUsual(out, at, c.ints) {
		return nil
	}
	out.clear(at, n, c.rules.kind)
	for i, v := range c.ints {
		if c.real {
			c.translateReal(out, at+i, v)
		} else {
			c.translateInteger(out, at+i, v)
		}
	}
	return nil
}

// translateUsual reads integers that mean what they are, or reports that some
// of them do not.
func (c *parquetColumn) translateUsual(out *cells, at int, ints []int64) bool {
	limit := c.rules.limit
	switch {
	case c.real || c.leaf.typ == format.Boolean:
		return false
	case c.rules.kind == kindTime && c.unit == 0:
		limit = maxSeconds
	case c.rules.kind != kindNumber:
		return false
	}
	nums := out.nums[at:][:len(ints)]
	for i, v := range ints {
		if uint64(v) > limit { // so are negative numbers
			return false
		}
		nums[i] = uint64(v)
	}
	setPresent(out.state[at : at+len(ints)])
	return true
}

// pythonNone is what Python's tools write for nothing.
const pythonNone = "None"

// isAbsent reports whether text stands for a field that is not there: empty,
// AWS's "-", or what Python makes of nothing.
func isAbsent(text []byte) bool {
	switch len(text) {
	case 0:
		return true
	case 1:
		return text[0] == '-'
	case 4:
		return string(text) == pythonNone
	}
	return false
}

// translateText reads a value in text form into cell i.
func (c *parquetColumn) translateText(out *cells, i int, text []byte) {
	if c.leaf.typ == format.FixedLenByteArray {
		for n := len(text); n > 0 && (text[n-1] == 0 || text[n-1] == ' '); n = len(text) {
			text = text[:n-1] // padding
		}
	}
	if isAbsent(text) && !(c.literal && string(text) == pythonNone) {
		return
	}
	var err error
	switch c.rules.kind {
	case kindAddr:
		out.addrs[i], err = address(text)
	case kindNumber:
		out.nums[i], err = unsigned(text, c.rules.limit)
	case kindTime:
		var t int64
		t, err = unixTime(text)
		out.nums[i] = uint64(t)
	case kindEnum:
		out.nums[i], err = c.rules.enum(text)
	case kindText:
		out.strs[i], err = c.intern(text)
	}
	out.state[i] = present
	if err != nil {
		out.fail(i, err)
	}
}

func (c *parquetColumn) intern(text []byte) (string, error) {
	if c.column.read == keep {
		return c.names.text(text)
	}
	return c.names.field(c.column.field, text)
}

// translateInteger reads an integer, or a Boolean, into cell i.
func (c *parquetColumn) translateInteger(out *cells, i int, v int64) {
	if c.unsigned && c.leaf.typ == format.Int32 {
		v = int64(uint32(v))
	}
	switch {
	case c.rules.kind == kindNumber && uint64(v) <= c.rules.limit:
		out.nums[i] = uint64(v)
		out.state[i] = present
	case c.rules.kind == kindTime && !(c.unsigned && v < 0):
		t, err := c.seconds(v)
		out.nums[i], out.state[i] = uint64(t), present
		if err != nil {
			out.fail(i, err)
		}
	default:
		c.translateText(out, i, c.digits(v))
	}
}

// digits writes v as it would stand in text.
func (c *parquetColumn) digits(v int64) []byte {
	switch {
	case c.leaf.typ == format.Boolean:
		c.text = strconv.AppendBool(c.text[:0], v != 0)
	case c.unsigned:
		c.text = strconv.AppendUint(c.text[:0], uint64(v), 10)
	case c.column.read == decode && c.column.field == flow.FieldAccountID:
		// An account ID has twelve digits, of which a number loses the
		// zeros in front.
		c.text = fmt.Appendf(c.text[:0], "%012d", v)
	default:
		c.text = strconv.AppendInt(c.text[:0], v, 10)
	}
	return c.text
}

// seconds reads a time.
func (c *parquetColumn) seconds(v int64) (int64, error) {
	t := v
	if c.unit > 0 {
		t = v / c.unit
	}
	if v >= 0 && t <= maxSeconds {
		return t, nil
	}
	c.text = strconv.AppendInt(c.text[:0], v, 10)
	if c.unit > 0 {
		return 0, outOfRange(c.text)
	}
	return unixTime(c.text)
}

// translateReal reads a FLOAT or DOUBLE, which pandas makes of integers when
// some are missing. It writes them as NaN, then.
func (c *parquetColumn) translateReal(out *cells, i int, bits int64) {
	f := math.Float64frombits(uint64(bits))
	if c.leaf.typ == format.Float {
		f = float64(math.Float32frombits(uint32(bits)))
	}
	const exact = 1 << 53 // up to here, every integer has its own number
	switch {
	case math.IsNaN(f):
	case f == math.Trunc(f) && math.Abs(f) <= exact:
		c.translateInteger(out, i, int64(f))
	case c.rules.kind == kindText:
		c.translateText(out, i, strconv.AppendFloat(c.text[:0], f, 'g', -1, 64))
	default:
		out.fail(i, fmt.Errorf("%q is not a whole number", strconv.FormatFloat(f, 'g', -1, 64)))
	}
}

// maxRepeated bounds the elements of one row of a repeated column.
const maxRepeated = 256

// fillRepeated is fill for a repeated column.
func (c *parquetColumn) fillRepeated(n int) (int, error) {
	c.cells.resize(0, c.rules.kind)
	c.starts = c.starts[:0]
	for {
		if c.pageLeft == 0 && c.left == 0 {
			c.starts = append(c.starts, len(c.cells.state))
			if len(c.starts) <= n {
				return len(c.starts) - 1, damaged("%w", errShortChunk)
			}
			return n, nil
		}
		if c.pageLeft == 0 {
			if err := c.nextPage(); err != nil {
				return max(len(c.starts)-1, 0), err
			}
			continue
		}
		done, err := c.readElement(n)
		if err != nil {
			return max(len(c.starts)-1, 0), pageError(err)
		}
		if done {
			return n, nil
		}
	}
}

// readElement reads one element of a repeated column, and reports whether it
// found the beginning of row n instead.
func (c *parquetColumn) readElement(n int) (bool, error) {
	var level [1]uint32
	h := c.repetition
	if err := h.fill(level[:]); err != nil {
		return false, err
	}
	if level[0] == 0 {
		c.starts = append(c.starts, len(c.cells.state))
		if len(c.starts) > n {
			return true, nil // it stays to be read
		}
	}
	c.repetition = h
	if len(c.starts) == 0 {
		return false, errors.New("the first value belongs to no row")
	}
	if err := c.definition.fill(level[:]); err != nil {
		return false, err
	}
	c.pageLeft--
	if level[0] < uint32(c.leaf.element) {
		return false, nil // an empty list, or none
	}
	i := len(c.cells.state)
	if i-c.starts[len(c.starts)-1] == maxRepeated {
		return false, fmt.Errorf("more than %d elements in a row", maxRepeated)
	}
	c.cells.extend(c.rules.kind)
	if level[0] < uint32(c.leaf.maxDefinition) {
		return false, nil // null
	}
	return false, c.readPresent(i, 1)
}

// extend adds one absent cell.
func (c *cells) extend(kind valueKind) {
	c.state = append(c.state, absent)
	switch kind {
	case kindAddr:
		c.addrs = append(c.addrs, flow.Addr{})
	case kindText:
		c.strs = append(c.strs, "")
	default:
		c.nums = append(c.nums, 0)
	}
}
