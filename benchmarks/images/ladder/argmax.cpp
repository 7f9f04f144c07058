// mnistctl._core as in the talk: it calls PyTorch's argmax through PyTorch's headers.

#include <torch/extension.h>

namespace py = pybind11;

py::object argmax(const py::object& values) {
    const auto tensor = py::module_::import("torch").attr("as_tensor")(values).cast<torch::Tensor>();
    const auto digits = tensor.argmax(-1);
    if (digits.dim() == 0) {
        return py::int_(digits.item<std::int64_t>());
    }
    return py::cast(digits).attr("numpy")();
}

PYBIND11_MODULE(_core, module) {
    module.def("argmax", &argmax);
}
