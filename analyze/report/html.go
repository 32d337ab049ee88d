package report

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// maxRows is how many rows of a table the page holds. A browser sorts and
// searches that many without delay; the CSV files have all rows.
const maxRows = 20_000

var (
	//go:embed assets/report.html.tmpl
	pageTemplate string
	//go:embed assets/report.css
	pageStyle string
	//go:embed assets/report.js
	pageScript string
	//go:embed assets/vendor/tabulator.min.css
	tableStyle string
	//go:embed assets/vendor/tabulator.min.js
	tableScript string
	//go:embed assets/vendor/tabulator.LICENSE
	tableLicense string
	//go:embed assets/vendor/chart.umd.min.js
	chartScript string
	//go:embed assets/vendor/chart.LICENSE.md
	chartLicense string
)

var pageTmpl = template.Must(template.New("report").Funcs(template.FuncMap{
	"num":    grouped,
	"short":  compact,
	"utc":    utc,
	"lines":  func(items []string) string { return strings.Join(items, "\n") },
	"list":   func(items []string) string { return strings.Join(items, ", ") },
	"ranges": withCommas,
	"addrs":  addrWords,
	"picker": pickerWords,
	"by":     stoppedBy,
	"inward": func(d flow.Direction) bool { return d == flow.Ingress },
	"add":    func(a, b int) int { return a + b },
	"half":   func(n int) int { return n / 2 },
	"lineY":  func(i int) int { return 14 + 16*i },
}).Parse(pageTemplate))

// page is what the template shows.
type page struct {
	Policy   string
	Styles   []template.CSS
	Scripts  []template.JS
	DataHere template.JS // stands where the data are written
	Licenses []string

	Verdict  verdict
	Coverage analyze.Coverage
	Span     string // the length of the log, in words
	Tiles    []tile
	Findings []analyze.Finding
	Diagram  *diagram
	Gate     struct{ Width, Row int } // measures of the diagram
	Rules    []analyze.RuleUse
	Proposal *proposal // nil when the rules are not known
	NAT      []analyze.NATInterface
	Grids    []grid
	Limits   []string // what the log cannot tell
	Warnings []string

	RulesCommand string
}

// verdict is the headline of the page.
type verdict struct {
	Kind analyze.Severity // Broken, Warn when there was nothing to judge, or Info
	Text string
}

// tile is one of the counts under the headline.
type tile struct {
	Label string
	Count int
	Note  string
	Link  string
}

// grid is one of the searchable tables.
type grid struct {
	Name, Title, About string
	Total, Shown       int
}

// gridTables are the tables that the page lets people search.
func gridTables(r *analyze.Result) []table {
	return slices.DeleteFunc(tables(r), func(t table) bool { return t.name == changesTable })
}

// newGrids describes the tables in their order.
func newGrids(r *analyze.Result) []grid {
	about := map[string][2]string{
		"sessions":         {"Sessions", "One row a control connection. Choose a session to see only its data connections, mappings and rejects."},
		"data_connections": {"Data connections", "One row a data connection, or an attempt at one. An ambiguous one is given to no session, since none is probable enough; the candidates are the sessions that fit, each with the probability that it is the right one."},
		"nat_mappings":     {"NAT mappings", "A client's connection and the port that the NAT gateway gave it."},
		"rejects":          {"Rejected flows", "One row a flow that was rejected at one interface, and what rejected it."},
		"port_ranges":      {"Port ranges", "One row a filter, direction, peer and purpose: the destination ports that connections needed there, for all traffic of the subnet."},
	}
	var grids []grid
	for _, t := range gridTables(r) {
		grids = append(grids, grid{t.name, about[t.name][0], about[t.name][1], t.total, min(t.total, maxRows)})
	}
	return grids
}

// WriteHTML writes r as one page that needs no other file and no network.
func WriteHTML(w io.Writer, r *analyze.Result) error {
	// The data can be many times what the rest is, and are not held as a
	// whole.
	var around bytes.Buffer
	if err := pageTmpl.Execute(&around, newPage(r)); err != nil {
		return err
	}
	before, after, _ := bytes.Cut(around.Bytes(), []byte(dataHere))
	out := bufio.NewWriter(w)
	out.Write(before)
	if err := writeData(out, r); err != nil {
		return err
	}
	out.Write(after)
	return cmp.Or(out.Flush(), r.Err())
}

// dataHere is JSON that no report holds.
const dataHere = `{"data": "here"}`

func newPage(r *analyze.Result) page {
	p := page{
		Styles:   []template.CSS{template.CSS(withoutMap(tableStyle)), template.CSS(pageStyle)},
		Scripts:  []template.JS{template.JS(withoutMap(chartScript)), template.JS(withoutMap(tableScript)), template.JS(pageScript)},
		DataHere: dataHere,
		Licenses: []string{"Chart.js\n\n" + chartLicense, "Tabulator\n\n" + tableLicense},
		Verdict:  newVerdict(r),
		Coverage: r.Coverage,
		Span:     duration(r.Coverage.End - r.Coverage.Start),
		Tiles:    newTiles(r),
		Findings: bySeverity(r.Findings),
		Diagram:  newDiagram(r),
		Rules:    r.Rules,
		Proposal: newProposal(r),
		NAT:      r.NATGateways,
		Grids:    newGrids(r),
		Limits:   limits(r.Coverage),
		Warnings: r.Warnings,

		RulesCommand: rulesCommand,
	}
	p.Gate.Width, p.Gate.Row = gateWidth, rowHeight
	p.Policy = policy(p.Styles, p.Scripts)
	return p
}

// withoutMap drops the comment that makes developer tools look for a source
// map beside the page.
func withoutMap(source string) string {
	for _, comment := range []string{"\n//# sourceMappingURL=", "\n/*# sourceMappingURL="} {
		source, _, _ = strings.Cut(source, comment)
	}
	return source
}

// policy is a content security policy that allows these styles and scripts,
// images inside the page, and nothing else.
func policy(styles []template.CSS, scripts []template.JS) string {
	s := "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src"
	for _, style := range styles {
		s += hashSource(string(style))
	}
	s += "; script-src"
	for _, script := range scripts {
		s += hashSource(string(script))
	}
	return s
}

func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func newVerdict(r *analyze.Result) verdict {
	for _, f := range r.Findings {
		if f.Severity == analyze.Broken {
			return verdict{analyze.Broken, f.Title}
		}
	}
	switch {
	case r.Coverage.Records == 0:
		return verdict{analyze.Warn, "The log holds no traffic"}
	case r.Sessions.Len() == 0:
		return verdict{analyze.Warn, "No FTP session in this log"}
	}
	return verdict{analyze.Info, "Nothing was stopped"}
}

func newTiles(r *analyze.Result) []tile {
	ok := func(o analyze.Outcome) bool { return o == analyze.OutcomeOK }
	sessions, data, abstained := 0, 0, 0
	for s := range r.Sessions.All() {
		if ok(s.Outcome) {
			sessions++
		}
	}
	for d := range r.Data.All() {
		if ok(d.Outcome) {
			data++
		}
		if d.SessionID == "" {
			abstained++
		}
	}
	dataNote := grouped(data) + " ok"
	if abstained > 0 {
		dataNote += ", " + grouped(abstained) + " ambiguous"
	}
	return []tile{
		{"FTP sessions", r.Sessions.Len(), grouped(sessions) + " ok", "sessions"},
		{"Data connections", r.Data.Len(), dataNote, "data_connections"},
		{"Rejected flows", r.Rejects.Len(), rejectNote(r.Rejects), "rejects"},
		{"NAT mappings", r.Mappings.Len(), counted(len(r.NATGateways), "NAT interface"), "nat_mappings"},
	}
}

func rejectNote(rejects *analyze.Rows[analyze.RejectedFlow]) string {
	unknown := 0
	var f analyze.RejectedFlow
	for range rejects.Each(&f) {
		if f.Cause == analyze.CauseUndetermined {
			unknown++
		}
	}
	switch {
	case rejects.Len() == 0:
		return ""
	case unknown == 0:
		return "all explained"
	}
	return grouped(unknown) + " without a known cause"
}

// bySeverity puts what breaks transfers first.
func bySeverity(findings []analyze.Finding) []analyze.Finding {
	order := []analyze.Severity{analyze.Broken, analyze.Warn, analyze.Info}
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(x, y analyze.Finding) int {
		return slices.Index(order, x.Severity) - slices.Index(order, y.Severity)
	})
	return sorted
}

// limits says what a log with this coverage cannot tell.
func limits(c analyze.Coverage) []string {
	var all []string
	add := func(is bool, text string) {
		if is {
			all = append(all, text)
		}
	}
	add(!c.Flags, "The log has no tcp-flags: who opened a connection is taken from the order of packets and from known ports.")
	add(!c.HeaderAddrs, "The log has no pkt-srcaddr and pkt-dstaddr: connections are joined across the NAT gateway by their packets, bytes and times.")
	add(!c.Snapshot, "The rules were not given (--network): what rejected a flow is taken from the log alone, and allowed ports are not known.")
	add(c.SkipData > 0, "AWS lost records in "+counted(c.SkipData, "interval")+" (SKIPDATA): connections can be missing or look shorter than they were.")
	add(c.BadRecords > 0, counted(c.BadRecords, "record")+" could not be read, and the report does without.")
	for _, m := range c.Missing {
		add(true, counted(m.Objects, "object")+" not read to the end ("+m.Fault+"): "+strings.Join(m.Places, ", ")+". What was in them is not in this report.")
	}
	add(true, "A flow log holds no payload: FTP commands, file names and the server's answers are not in it, with or without TLS.")
	return all
}

// writeData writes what the scripts of the page read: the tables, the rules
// and the counts behind the charts. It is safe inside a script element.
func writeData(out *bufio.Writer, r *analyze.Result) error {
	out.WriteString(`{"tables": {`)
	for i, t := range gridTables(r) {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n" + strconv.Quote(t.name) + ": ")
		if err := t.writeRows(out, maxRows); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	b, err := appendJSON([]byte("\n},\n\"rules\": "), reflect.ValueOf(r.Rules))
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	charts, err := json.Marshal(struct {
		Timeline timeline      `json:"timeline"`
		Rejects  []rejectCount `json:"rejects"`
		Curves   []curve       `json:"curves"`
	}{newTimeline(r.Sessions), countRejects(r.Rejects), drawnCurves(r)})
	out.Write(append(append(append(b, ",\n\"charts\": "...), charts...), "\n}"...))
	return err
}

// writeRows writes the first rows of t as lists, a row a line; what is empty
// is null.
func (t table) writeRows(out *bufio.Writer, most int) error {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	out.WriteString(fmt.Sprintf(`{"total": %d, "columns": ["%s"], "rows": [`, t.total, strings.Join(names, `", "`)))
	var line []byte
	n := 0
	for range t.rows {
		if n == most {
			break
		}
		if n > 0 {
			out.WriteByte(',')
		}
		var err error
		line, err = appendList(append(line[:0], '\n'), len(t.cells), func(b []byte, i int) ([]byte, error) {
			if t.cells[i].empty() {
				return append(b, "null"...), nil
			}
			return t.cells[i].json(b)
		})
		if err != nil {
			return fmt.Errorf("row %d: %w", n, err)
		}
		out.Write(line)
		n++
	}
	out.WriteString("]}")
	return nil
}

// grouped writes n with a comma between groups of three digits.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted writes n and the noun for it.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

func utc(t analyze.Time) string {
	return time.Unix(int64(t), 0).UTC().Format("2006-01-02 15:04:05")
}

// duration writes a number of seconds in its two largest units.
func duration(t analyze.Time) string {
	units := []struct {
		seconds analyze.Time
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}}
	for i, u := range units {
		if t < u.seconds {
			continue
		}
		s := strconv.Itoa(int(t/u.seconds)) + " " + u.name
		if i+1 < len(units) && t%u.seconds >= units[i+1].seconds {
			s += " " + strconv.Itoa(int(t%u.seconds/units[i+1].seconds)) + " " + units[i+1].name
		}
		return s
	}
	return "0 s"
}

// withCommas puts a comma after every item but the last, so that a line can
// break between items only.
func withCommas(items []string) []string {
	list := slices.Clone(items)
	for i := range max(0, len(list)-1) {
		list[i] += ","
	}
	return list
}

func addrWords(addrs []flow.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// pickerWords names who picks the port.
func pickerWords(chosenBy string) string {
	words := map[string]string{
		analyze.ChosenFixed: "nobody, it is fixed", analyze.ChosenServer: "the FTP server",
		analyze.ChosenClient: "the client's OS", analyze.ChosenNAT: "the NAT gateway",
	}
	if w, ok := words[chosenBy]; ok {
		return w
	}
	return chosenBy
}
