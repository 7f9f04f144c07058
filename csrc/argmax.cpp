// mnistctl._core: the index of the largest value, for one row of logits or a batch of them.
//
// The rules are NumPy's: the first index wins a tie, and a NaN wins over every number.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

namespace py = pybind11;

namespace {

// memcpy, because an array handed to us may hold values at addresses that are not aligned.
template <typename Value>
Value load(const char* address) {
    Value value;
    std::memcpy(&value, address, sizeof value);
    return value;
}

template <typename Value>
std::int64_t argmax_of_row(const char* row, py::ssize_t classes, py::ssize_t stride) {
    std::int64_t best = 0;
    Value largest = load<Value>(row);
    for (py::ssize_t i = 1; i < classes && !std::isnan(largest); ++i) {
        const Value value = load<Value>(row + i * stride);
        if (value > largest || std::isnan(value)) {
            largest = value;
            best = i;
        }
    }
    return best;
}

template <typename Value>
py::object argmax_of(const py::array& values) {
    const char* data = static_cast<const char*>(values.data());
    if (values.ndim() == 1) {
        return py::int_(argmax_of_row<Value>(data, values.shape(0), values.strides(0)));
    }
    const py::ssize_t rows = values.shape(0), classes = values.shape(1);
    const py::ssize_t row_stride = values.strides(0), class_stride = values.strides(1);
    py::array_t<std::int64_t> digits(rows);
    std::int64_t* digit = digits.mutable_data();
    {
        py::gil_scoped_release release;
        for (py::ssize_t row = 0; row < rows; ++row) {
            digit[row] = argmax_of_row<Value>(data + row * row_stride, classes, class_stride);
        }
    }
    return digits;
}

py::object argmax(const py::object& object) {
    const py::array values(object);
    if (values.ndim() != 1 && values.ndim() != 2) {
        throw py::value_error("argmax takes 1 or 2 dimensions, not " +
                              std::to_string(values.ndim()));
    }
    if (values.shape(values.ndim() - 1) == 0) {
        throw py::value_error("argmax of no values is undefined");
    }
    if (py::isinstance<py::array_t<float>>(values)) {
        return argmax_of<float>(values);
    }
    if (py::isinstance<py::array_t<double>>(values)) {
        return argmax_of<double>(values);
    }
    throw py::type_error("argmax takes float32 or float64, not " +
                         py::str(values.dtype()).cast<std::string>());
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled part of mnistctl.";
    module.def("argmax", &argmax, py::arg("values"),
               R"(Return the index of the largest value in each row.

Args:
    values: float32 or float64, of shape (classes,) or (rows, classes), with any strides:
        a NumPy array or any object with the buffer protocol or ``__array__``
        (a PyTorch tensor on the CPU). Not copied where it exposes its memory.

Returns:
    An int for one row; for a batch an int64 array of shape (rows,). As in NumPy, the first
    index wins a tie and a NaN wins over every number.

Raises:
    ValueError: no values, or another number of dimensions.
    TypeError: another dtype.)");
}
