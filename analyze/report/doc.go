// Package report writes an analyze.Result for people and for their tools:
// CSV files, one JSON document, and one HTML page that works offline.
//
//	err := report.WriteCSV(ctx, "out", result)
//	err = report.WriteJSON(os.Stdout, result)
//	err = report.WriteHTML(file, result)
//
// All three read the rows of a Result by reflection, with the json tags as
// column names; a field added to a row type appears in all of them. The
// output depends on the Result alone: the same Result gives the same bytes.
//
// WriteReplayCSV and WriteReplayJSON write what a Replay found, which the page
// shows in numbers beside the proposed rules.
//
// The page holds everything it shows, the two libraries that draw it
// included (see assets/vendor), and its content security policy forbids it
// to load anything. It shows at most 20,000 rows of a table; the CSV files
// and the JSON document hold all of them.
package report
