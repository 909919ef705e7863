"""Steps by the curvature of the loss: Gauss-Newton products and Hessian-free."""
