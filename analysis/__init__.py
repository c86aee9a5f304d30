"""Analysis: reads the results of a study; numbers first, pictures second."""
