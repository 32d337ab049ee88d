package analyze

// NewRejects and NewMappings are tables as an analysis fills them, and Add
// adds a row: for tests and benchmarks that write them as reports.
func NewRejects() *Rows[RejectedFlow] { return newRows(compareRejects, heldRows) }

// NewMappings: see NewRejects.
func NewMappings() *Rows[Mapping] { return newRows(compareMappings, heldRows) }

// Add adds a row.
func (r *Rows[T]) Add(row T) { r.add(row) }
