//go:build real

package report

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	browserdomain "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"ephemera/analyze"
)

// tab is one page in a real browser, with what it complained about and what
// it asked the network for.
type tab struct {
	*testing.T
	ctx                  context.Context
	mu                   sync.Mutex
	complaints, requests []string
}

// TestBrowser runs all tests in tabs of one browser.
func TestBrowser(t *testing.T) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	b := browser{ctx}
	t.Run("draws the page", b.drawsThePage)
	t.Run("diagram is legible", b.diagramIsLegible)
	t.Run("sorts and searches", b.sortsAndSearches)
	t.Run("narrows to a session", b.narrowsToASession)
	t.Run("explains a rule", b.explainsARule)
	t.Run("proposes rules", b.proposesRules)
	t.Run("copies", b.copies)
	t.Run("copies by hand", b.copiesByHand)
	t.Run("reads without scripts", b.readsWithoutScripts)
	t.Run("fits a phone", b.fitsAPhone)
	t.Run("shows hostile text as text", b.showsHostileTextAsText)
	t.Run("draws nothing", b.drawsNothing)
	t.Run("holds many rows", b.holdsManyRows)
}

type browser struct{ ctx context.Context }

// open shows r in a new tab that prefers the color scheme.
func (b browser) open(t *testing.T, r *analyze.Result, scheme string) *tab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, render(t, WriteHTML, r), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	p := &tab{T: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	// A click goes where its element was when it was looked for: nothing may
	// still be scrolling then.
	features := []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		t.Fatal(err)
	}
	focus := emulation.SetFocusEmulationEnabledParams{Enabled: true}
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, focus); err != nil {
		t.Fatal(err)
	}
	read := browserdomain.SetPermissionParams{Permission: &browserdomain.PermissionDescriptor{Name: "clipboard-read"}, Setting: browserdomain.PermissionSettingGranted}
	if _, err := chromedp.CallBrowser(ctx, browserdomain.SetPermission, read); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	p.run(
		chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String()),
		chromedp.WaitVisible(chromedp.CSS("#port_ranges-grid.ready")),
	)
	return p
}

func (p *tab) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		for _, arg := range e.Args {
			p.complaints = append(p.complaints, string(e.Type)+": "+string(arg.Value))
		}
	case *runtime.EventExceptionThrown:
		p.complaints = append(p.complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case *log.EventEntryAdded:
		p.complaints = append(p.complaints, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "file://") && !strings.HasPrefix(e.Request.URL, "data:") {
			p.requests = append(p.requests, e.Request.URL)
		}
	}
}

func (p *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// value evaluates a JavaScript expression.
func value[T any](p *tab, expression string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.Fatal(err)
	}
	return v
}

// expect evaluates a JavaScript expression and compares.
func expect[T comparable](p *tab, expression string, want T) {
	p.Helper()
	if got := value[T](p, expression); got != want {
		p.Errorf("%s\n got %v\nwant %v", expression, got, want)
	}
}

// expectQuiet fails when the page complained or asked the network.
func (p *tab) expectQuiet() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.complaints {
		p.Errorf("the browser says: %s", c)
	}
	for _, u := range p.requests {
		p.Errorf("the page asked for %s", u)
	}
}

// shown is the number that stands beside the title of a table.
func shown(name string) string {
	return fmt.Sprintf(`document.getElementById("%s-count").textContent`, name)
}

// firstCell is the text in a column of the first row that a table shows.
func firstCell(name, field string) string {
	return fmt.Sprintf(`document.querySelector('#%s-grid .tabulator-row [tabulator-field="%s"]').textContent`, name, field)
}

func (b browser) drawsThePage(t *testing.T) {
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			p := b.open(t, fixture(), scheme)
			for _, name := range []string{"ports", "timeline", "rejects"} {
				colors := fmt.Sprintf(`(() => {
					const c = document.getElementById("%s-chart");
					const pixels = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer);
					return new Set(pixels).size;
				})()`, name)
				if n := value[int](p, colors); n < 10 {
					t.Errorf("the chart of %s has %d colors: it is blank", name, n)
				}
			}
			dark := value[bool](p, `getComputedStyle(document.body).backgroundColor.match(/\d+/g).every((c) => c < 64)`)
			if dark != (scheme == "dark") {
				t.Errorf("dark is %v in the %s scheme", dark, scheme)
			}
			expect(p, `Chart.getChart("ports-chart").data.datasets.map((d) => d.data.length).join()`, "11,11,1")
			expect(p, `Chart.getChart("ports-chart").data.datasets[2].data[0].text`, "2048-32767")
			p.run(chromedp.Click(chromedp.CSS("#theme")))
			expect(p, `getComputedStyle(document.body).backgroundColor.match(/\d+/g).every((c) => c < 64)`, !dark)
			expect(p, `document.querySelectorAll(".gate a.rule").length`, 11)
			expect(p, `document.querySelectorAll(".gate a.rule.stopped").length`, 1)
			p.expectQuiet()
		})
	}
}

// No text of the diagram lies on another, and none leaves its gate or node.
func (b browser) diagramIsLegible(t *testing.T) {
	for i, c := range diagramCases {
		t.Run(c.name, func(t *testing.T) {
			p := b.open(t, diagramCase(i), "light")
			overlaps := value[[]string](p, `(() => {
				const texts = [...document.querySelectorAll(".way text")].map((e) => ({ text: e.textContent, at: e.getBoundingClientRect() }));
				const meet = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
				const found = [];
				texts.forEach((a, i) => texts.slice(i + 1).forEach((b) => { if (meet(a.at, b.at)) found.push(a.text + " | " + b.text); }));
				for (const box of document.querySelectorAll(".gate, .node")) {
					const edge = box.querySelector("rect").getBoundingClientRect();
					for (const e of box.querySelectorAll("text")) {
						const at = e.getBoundingClientRect();
						if (at.left < edge.left || at.right > edge.right) found.push("outside: " + e.textContent);
					}
				}
				return found;
			})()`)
			for _, o := range overlaps {
				t.Error(o)
			}
			p.expectQuiet()
		})
	}
}

func (b browser) sortsAndSearches(t *testing.T) {
	p := b.open(t, fixture(), "light")
	expect(p, `[...document.querySelectorAll("#sessions-grid .tabulator-row [tabulator-field=data]")].map((e) => e.textContent).join()`, "5,4 (4-5),2 (1-3)")
	header := `#data_connections-grid .tabulator-col[tabulator-field="length"]`
	p.run(chromedp.Click(chromedp.CSS(header)))
	expect(p, firstCell("data_connections", "data_id"), "d1")
	p.run(chromedp.SendKeys(chromedp.CSS(header), "\r"))
	expect(p, firstCell("data_connections", "data_id"), "d12")
	p.run(chromedp.SendKeys(chromedp.CSS(`input[data-table="data_connections"]`), "BLOCKED s2"))
	expect(p, shown("data_connections"), "2 of 12")
	expect(p, shown("sessions"), "3")
	p.run(chromedp.SendKeys(chromedp.CSS(`input[data-table="data_connections"]`), " nowhere"))
	expect(p, shown("data_connections"), "0 of 12")
	p.expectQuiet()
}

func (b browser) narrowsToASession(t *testing.T) {
	p := b.open(t, fixture(), "light")
	p.run(chromedp.Click(chromedp.CSS(`#sessions-grid .tabulator-row:nth-child(2) [tabulator-field="outcome"]`)))
	expect(p, shown("sessions"), "3")
	expect(p, shown("data_connections"), "6 of 12") // five, and one that could be its
	expect(p, shown("nat_mappings"), "7 of 15")
	expect(p, shown("rejects"), "2 of 7")
	expect(p, `[...document.querySelectorAll("#data_connections-grid [tabulator-field=session_id] .soft")].map((e) => e.textContent).join()`, "ambiguous")
	expect(p, `document.querySelector("#data_connections-grid [tabulator-field=session_id]:has(.soft)").title`, "Given to no session, since none is probable enough: s2 60 %, s3 40 %")
	expect(p, firstCell("data_connections", "fits"), "s2 97 %")
	expect(p, `document.getElementById("focus-counts").textContent`, "6 data connections2 rejects7 NAT mappings")
	expect(p, `document.querySelectorAll("#sessions-grid .tabulator-row.focused").length`, 1)
	p.run(chromedp.Click(chromedp.CSS("#focus-clear")))
	expect(p, shown("data_connections"), "12")
	expect(p, `document.querySelectorAll(".tabulator-row.focused").length`, 0)
	p.run(chromedp.SendKeys(chromedp.CSS(`#rejects-grid button.link`), "\r"))
	expect(p, `document.getElementById("focus-name").textContent`, "s1")
	p.run(chromedp.KeyEvent("\u001b"))
	expect(p, shown("rejects"), "7")
	expect(p, `document.querySelector("#rejects-grid [tabulator-field=session_id] .soft").textContent`, "")
	p.expectQuiet()
}

func (b browser) explainsARule(t *testing.T) {
	p := b.open(t, fixture(), "light")
	p.run(chromedp.Focus(chromedp.CSS(`a[data-rule="9"]`)))
	tip := value[string](p, `document.getElementById("tip").textContent`)
	if !strings.Contains(tip, "120 allow tcp 32768-65535") || !strings.Contains(tip, "5 by "+publicACL) {
		t.Errorf("got %q, want the entry and what was stopped", tip)
	}
	p.run(chromedp.Click(chromedp.CSS(`a[data-rule="9"] .purpose`)))
	expect(p, `location.hash`, "#rule-9")
	expect(p, `document.querySelector("tr:target th").textContent.startsWith("public NACL inbound: server replies")`, true)
	p.expectQuiet()
}

func (b browser) proposesRules(t *testing.T) {
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			p := b.open(t, fixture(), scheme)
			expect(p, `document.querySelectorAll(".beside tbody tr").length`, 11)
			expect(p, `[...document.querySelectorAll(".beside .why .badge")].map((e) => e.textContent).join()`, "stays,narrow,stays,narrow,stays,stays,stays,narrow,fix,narrow,narrow")
			expect(p, `document.querySelector(".beside tbody tr:nth-child(4) .number").textContent`, "64,512 → 102")
			expect(p, `document.querySelector(".beside tbody tr:nth-child(6) .why .sub").textContent`, fixtureProposal().Kept[0].Why)
			expect(p, `[...document.querySelectorAll(".counts .tile-count")].map((e) => e.textContent).join()`, "64,0,5,1,1")
			expect(p, `document.querySelectorAll(".change-list tbody tr:not(.filter)").length`, 8)
			expect(p, `document.querySelector("details.staying").open`, false)
			expect(p, `[...document.querySelectorAll(".curves canvas")].map((c) => Chart.getChart(c).data.datasets.map((d) => d.data.length)).join(" ")`, "1,1,6 1,1,3 1,1,5")
			expect(p, `Chart.getChart("curve-0-chart").scales.y.type`, "logarithmic")
			blank := `[...document.querySelectorAll(".curves canvas")].filter((c) => new Set(new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer)).size < 10).length`
			expect(p, blank, 0)
			p.run(chromedp.Click(chromedp.CSS(`.beside a[href="#rule-9"]`)))
			expect(p, `document.querySelector("tr:target th").textContent.startsWith("public NACL inbound: server replies")`, true)
			p.expectQuiet()
		})
	}
}

// clipboard is what was copied last.
func clipboard(p *tab) string {
	p.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`navigator.clipboard.readText()`, awaitPromise))
	if err != nil {
		p.Fatal(err)
	}
	return text
}

func awaitPromise(params *runtime.EvaluateParams) { params.AwaitPromise = new(true) }

// waitFor waits until a JavaScript expression is true.
func (p *tab) waitFor(expression string) {
	p.Helper()
	for range 1000 {
		if value[bool](p, expression) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.Fatalf("not within twenty seconds: %s", expression)
}

// A click, and Enter as well, puts the text into the clipboard and says so.
func (b browser) copies(t *testing.T) {
	p := b.open(t, fixture(), "light")
	p.run(chromedp.Click(chromedp.CSS(".command .copy")))
	p.waitFor(`document.querySelector(".command .copy").textContent === "Copied" && document.getElementById("said").textContent === "Copied"`)
	if got := clipboard(p); got != rulesCommand {
		t.Errorf("got %q, want %q", got, rulesCommand)
	}
	p.run(chromedp.SendKeys(chromedp.CSS(".beside tbody tr:nth-child(4) .copy"), "\r"))
	p.waitFor(`document.querySelector(".beside tbody tr:nth-child(4) .copy").textContent === "Copied"`)
	if got, want := clipboard(p), strings.Join(fixtureRules()[3].Proposed, "\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.run(chromedp.SendKeys(chromedp.CSS(".grid-head .copy"), " "))
	p.waitFor(`document.querySelector(".grid-head .copy").textContent === "Copied"`)
	if got, want := clipboard(p), newProposal(fixture()).Text; got != want || strings.Count(got, "\n") != 8 {
		t.Errorf("got %q, want %q", got, want)
	}
	expect(p, `document.querySelectorAll(".to-copy").length`, 0)
	p.expectQuiet()
}

// Where there is no clipboard, or it refuses, the text is selected in a field.
func (b browser) copiesByHand(t *testing.T) {
	for name, spoil := range map[string]string{
		"no clipboard": `delete Navigator.prototype.clipboard, "clipboard" in navigator`,
		"refused":      `Clipboard.prototype.writeText = () => Promise.reject(new Error("no")), false`,
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open(t, fixture(), "light")
			value[bool](p, `window.reads = navigator.clipboard.readText.bind(navigator.clipboard), true`)
			expect(p, spoil, false)
			p.run(chromedp.SendKeys(chromedp.CSS(".grid-head .copy"), "\r"))
			p.waitFor(`document.activeElement.matches(".to-copy textarea")`)
			expect(p, `getSelection().toString().trim() === document.querySelector(".grid-head .copy").dataset.copy.trim()`, true)
			expect(p, `document.execCommand("copy")`, true)
			p.waitFor(`document.querySelector(".grid-head .copy").textContent === "Copied"`)
			expect(p, `document.querySelectorAll(".to-copy").length`, 0)
			expect(p, `document.activeElement.matches(".grid-head .copy")`, true)
			got, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`window.reads()`, awaitPromise))
			if want := newProposal(fixture()).Text; err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			p.run(chromedp.Click(chromedp.CSS(".command .copy")))
			p.waitFor(`document.activeElement.matches(".command .to-copy textarea")`)
			p.run(chromedp.KeyEvent("\u001b"))
			expect(p, `document.querySelectorAll(".to-copy").length`, 0)
			expect(p, `document.activeElement.matches(".command .copy")`, true)
			p.expectQuiet()
		})
	}
}

// What there is to read of the proposal is there without scripts, and what
// needs them is not.
func (b browser) readsWithoutScripts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, render(t, WriteHTML, fixture()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	p := &tab{T: t, ctx: ctx}
	p.run(chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String()), chromedp.WaitVisible(chromedp.CSS("#proposed")))
	text := value[string](p, `document.getElementById("proposed").innerText`)
	for _, want := range []string{"50000-50100 to 203.0.113.10/32", "0 of 6 lost; with 95 % between 0 and 46 %", "96 ports in 1 entry", "pass today, and would pass", rulesCommand} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	expect(p, `[...document.querySelectorAll("#proposed button, #proposed canvas")].filter((e) => e.checkVisibility()).length`, 0)
}

// On a phone the page does not scroll sideways, and nothing of the proposal
// is cut or needs to be scrolled to, however long it is.
func (b browser) fitsAPhone(t *testing.T) {
	for name, r := range map[string]*analyze.Result{"fixture": fixture(), "hostile": hostileResult(), "long": longResult()} {
		t.Run(name, func(t *testing.T) {
			p := b.open(t, r, "light")
			phone := emulation.SetDeviceMetricsOverrideParams{Width: 390, Height: 844, DeviceScaleFactor: 1, Mobile: true}
			if _, err := chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, phone); err != nil {
				t.Fatal(err)
			}
			p.waitFor(`innerWidth === 390`)
			p.run(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("#proposed details").forEach((d) => { d.open = true; })`))
			wide := value[[]string](p, `[...document.querySelectorAll("#proposed *")].filter((e) => e.getBoundingClientRect().right > 391 && !e.closest(".offscreen, thead")).map((e) => e.tagName + "." + e.className + " " + e.textContent.slice(0, 60))`)
			for _, w := range wide {
				t.Errorf("too wide: %s", w)
			}
			expect(p, `document.documentElement.scrollWidth`, 390)
			p.expectQuiet()
		})
	}
}

// longResult is the fixture with hundreds of entries, and with long notes.
func longResult() *analyze.Result {
	r := fixture()
	changes, kept := r.Changes, r.Proposal.Kept[0]
	for range 30 {
		r.Changes = append(r.Changes, changes...)
		r.Proposal.Kept = append(r.Proposal.Kept, kept)
		r.Proposal.Closed = append(r.Proposal.Closed, strings.Repeat("tcp 1024-65535;", 80))
	}
	for i := range r.Changes {
		r.Changes[i].Note = strings.Repeat("acl-0f9e8d7c6b5a49382/ingress/203.0.113.10/32/reply; ", 40)
	}
	return r
}

func (b browser) showsHostileTextAsText(t *testing.T) {
	p := b.open(t, hostileResult(), "dark")
	expect(p, `document.querySelectorAll("img").length`, 0)
	expect(p, `document.scripts.length`, 4)
	expect(p, firstCell("sessions", "cause"), hostile)
	expect(p, firstCell("sessions", "session_id"), hostile)
	expect(p, `document.querySelector("h1 span").textContent`, hostile)
	expect(p, `document.querySelector(".change-list .note").textContent`, hostile)
	expect(p, `document.querySelector(".beside .entry").textContent`, hostile)
	expect(p, `document.querySelector(".summary li").textContent`, hostile)
	expect(p, `document.querySelector(".beside .copy").dataset.copy.startsWith("=cmd()")`, true)
	p.run(chromedp.Click(chromedp.CSS(`#sessions-grid button.link`)), chromedp.Focus(chromedp.CSS(`a[data-rule="9"]`)))
	expect(p, `document.getElementById("focus-name").textContent`, hostile)
	expect(p, `document.querySelectorAll("img").length`, 0)
	p.expectQuiet()
}

func (b browser) drawsNothing(t *testing.T) {
	p := b.open(t, &analyze.Result{}, "light")
	expect(p, `[...document.querySelectorAll("#charts, .charts figure")].filter((e) => e.offsetHeight > 0).length`, 0)
	expect(p, shown("sessions"), "0")
	p.expectQuiet()
}

// The largest page that is written still answers at once.
func (b browser) holdsManyRows(t *testing.T) {
	r := fixture()
	data := make([]analyze.DataConnection, maxRows)
	for i := range data {
		data[i] = fixtureData()[i%12]
		data[i].ID = fmt.Sprintf("d%d", i)
	}
	r.Data = analyze.RowsOf(data...)
	p := b.open(t, r, "light")
	expect(p, shown("data_connections"), "20,000")
	start := time.Now()
	p.run(chromedp.SendKeys(chromedp.CSS(`input[data-table="data_connections"]`), "d1999"))
	expect(p, shown("data_connections"), "11 of 20,000")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("searching took %v", took)
	}
	p.expectQuiet()
}
