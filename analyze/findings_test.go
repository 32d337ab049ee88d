package analyze

import "testing"

func TestAmbiguityFinding(t *testing.T) {
	given := DataConnection{SessionID: "s-1", Candidates: []string{"s-1"}, Confidence: 0.9}
	tie := DataConnection{Candidates: []string{"s-1", "s-2"}, Confidence: 0.5}
	doubtful := DataConnection{Candidates: []string{"s-1"}, Confidence: 0.65}
	const (
		table = " The table names the sessions that fit, with their probabilities. "
		all   = table + "If each went to the likeliest (--confidence 0), about "
		rest  = " Where a connection died and why does not depend on it; how a session ended does."
	)
	for _, x := range []struct {
		data          []DataConnection
		confidence    float64
		title, detail string
	}{
		{nil, 0.7, "", ""},
		{[]DataConnection{given, given}, 0.7, "", ""},
		{[]DataConnection{tie, given, tie, tie, tie}, 0.7, "4 of 5 data connections are given to no session",
			"Several sessions with the server were open at the time, and none of them is the right one with at least 70 %." + all + "2 of 4 would be right." + rest},
		{[]DataConnection{doubtful, given}, 0.675, "1 of 2 data connections is given to no session",
			"Only one session fits each, with less than 67.5 %: it may be of a session that the log lacks, or no FTP." + table + "The likeliest one (--confidence 0) would be right with 65 %." + rest},
		{[]DataConnection{doubtful, tie, doubtful}, 0.7, "3 of 3 data connections are given to no session",
			"For 1 of them several sessions were open at the time, and none is the right one with at least 70 %; " +
				"each of the other 2 fits one only, with less: it may be of a session that the log lacks, or no FTP." + all + "2 of 3 would be right." + rest},
	} {
		var got Finding
		if fs := ambiguityFinding(&Result{Data: RowsOf(x.data...)}, x.confidence); len(fs) > 0 {
			got = fs[0]
		}
		if got.Title != x.title || got.Detail != x.detail {
			t.Errorf("got  %q\n     %q\nwant %q\n     %q", got.Title, got.Detail, x.title, x.detail)
		}
	}
}

// What a session's data connections may be is told with probabilities that
// belong to the candidates, the first of which is the confidence.
func TestCandidatesHaveProbabilities(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f, transferFamily("203.0.113.10", true)...), Options{})
		for d := range r.Data.All() {
			sum := 0.0
			for _, p := range d.Probabilities {
				sum += p
			}
			if len(d.Probabilities) != len(d.Candidates) || d.Probabilities[0] != d.Confidence || sum > d.FTPProbability+0.005 {
				t.Errorf("%s has candidates %v with %v, confidence %v and %v that it is FTP",
					d.ID, d.Candidates, d.Probabilities, d.Confidence, d.FTPProbability)
			}
		}
		if r.Data.Len() == 0 {
			t.Error("got no data connections")
		}
	})
}
