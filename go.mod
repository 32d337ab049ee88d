module ephemera

go 1.26
