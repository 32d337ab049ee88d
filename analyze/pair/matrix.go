package pair

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

func (m Matrix) dense() *mat.SymDense {
	s := mat.NewSymDense(4, nil)
	for i := range m {
		for j := range i + 1 {
			s.SetSym(i, j, (m[i][j]+m[j][i])/2)
		}
	}
	return s
}

// diagonalize returns the rows of a transformation after which the
// covariance base is the identity and each is diagonal, with that diagonal.
// It panics if base is not positive definite.
func diagonalize(base, each Matrix) (rows [4]vector, diagonal vector) {
	var chol mat.Cholesky
	if !chol.Factorize(base.dense()) {
		panic("pair: the covariance of totals is not positive definite")
	}
	var lower, inverse mat.TriDense
	chol.LTo(&lower)
	if err := inverse.InverseTri(&lower); err != nil {
		panic("pair: " + err.Error())
	}
	var left, whitened mat.Dense
	left.Mul(&inverse, each.dense())
	whitened.Mul(&left, inverse.T())
	var m Matrix
	for i := range m {
		for j := range m[i] {
			m[i][j] = whitened.At(i, j)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(m.dense(), true) {
		panic("pair: no eigenvalues of the covariance of totals")
	}
	var vectors, to mat.Dense
	eigen.VectorsTo(&vectors)
	to.Mul(vectors.T(), &inverse)
	for i, v := range eigen.Values(nil) {
		diagonal[i] = max(0, v)
		for j := range 4 {
			rows[i][j] = to.At(i, j)
		}
	}
	return rows, diagonal
}

// solveSymmetric solves a positive definite system.
func solveSymmetric(a [nFeatures][nFeatures]float64, b [nFeatures]float64) (x [nFeatures]float64) {
	s := mat.NewSymDense(nFeatures, nil)
	for i := range a {
		for j := range i + 1 {
			s.SetSym(i, j, a[i][j])
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(s) {
		panic("pair: the system of the totals is not positive definite")
	}
	var v mat.VecDense
	if err := chol.SolveVecTo(&v, mat.NewVecDense(nFeatures, b[:])); err != nil {
		panic("pair: " + err.Error())
	}
	for i := range x {
		x[i] = v.AtVec(i)
	}
	return x
}

// positive returns the nearest matrix whose variances, scaled by least, are 1
// or more in every direction.
func (m Matrix) positive(least vector) Matrix {
	var scaled Matrix
	for i := range m {
		for j := range m {
			scaled[i][j] = m[i][j] / math.Sqrt(least[i]*least[j])
		}
	}
	out := scaled.spectral(func(v float64) float64 { return max(1, v) })
	for i := range m {
		for j := range m {
			out[i][j] *= math.Sqrt(least[i] * least[j])
		}
	}
	return out
}

// spectral returns the symmetric matrix with f of the eigenvalues.
func (m Matrix) spectral(f func(float64) float64) (out Matrix) {
	var eigen mat.EigenSym
	if !eigen.Factorize(m.dense(), true) {
		panic("pair: no eigenvalues of a covariance of totals")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	for k, v := range eigen.Values(nil) {
		for i := range m {
			for j := range m {
				out[i][j] += f(v) * vectors.At(i, k) * vectors.At(j, k)
			}
		}
	}
	return out
}

func multiply(a, b Matrix) (c Matrix) {
	for i := range a {
		for j := range a {
			for k := range a {
				c[i][j] += a[i][k] * b[k][j]
			}
		}
	}
	return c
}

func transpose(a Matrix) (t Matrix) {
	for i := range a {
		for j := range a {
			t[j][i] = a[i][j]
		}
	}
	return t
}

func rootOf(a Matrix) Matrix {
	return a.spectral(func(v float64) float64 { return math.Sqrt(max(v, 1e-9)) })
}

func inverseOf(rows [4]vector) (out Matrix) {
	d := mat.NewDense(4, 4, nil)
	for i := range rows {
		for j := range rows {
			d.Set(i, j, rows[i][j])
		}
	}
	var inv mat.Dense
	if err := inv.Inverse(d); err != nil {
		panic("pair: " + err.Error())
	}
	for i := range out {
		for j := range out {
			out[i][j] = inv.At(i, j)
		}
	}
	return out
}

// plus adds a multiple of b.
func (m Matrix) plus(b Matrix, factor float64) Matrix {
	for i := range m {
		for j := range m {
			m[i][j] += factor * b[i][j]
		}
	}
	return m
}

// outer returns a multiple of v·vᵀ.
func outer(v vector, factor float64) (m Matrix) {
	for i := range v {
		for j := range v {
			m[i][j] = factor * v[i] * v[j]
		}
	}
	return m
}

func (m Matrix) inverse() Matrix { return inverseOf([4]vector(m)) }
